-- The frames of running turns, in pieces as they were flushed; those of a finished attempt are in
-- turn_events.
create table turn_pieces (
    turn_id uuid not null references turns (id) on delete cascade,
    attempt integer not null,
    -- The numbers of the first frame in it and the last. Pieces may overlap: one whose writer did not
    -- learn that it was written is written again, with more.
    first_seq bigint not null,
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
