-- The frames of running turns, in pieces as they were flushed; those of a finished attempt are in
-- turn_events.
create table turn_pieces (
    turn_id uuid not null references turns (id) on delete cascade,
    attempt integer not null,
    -- The number of the last frame in it.
    last_seq bigint not null,
    frames bytea not null,
    written_at timestamptz not null,
    primary key (turn_id, attempt, last_seq)
);
create index turn_pieces_by_age on turn_pieces (written_at);
do $$
begin
    execute 'alter table turn_pieces alter column frames set compression lz4';
exception when feature_not_supported or syntax_error then
    null;
end
$$;
