-- What a turn's models read and wrote.
alter table turns add column input_tokens bigint;
alter table turns add column output_tokens bigint;

-- How many tokens were spent of what there is for a day: of a device, an address, the site.
create table budgets (
    scope text not null,
    -- Days since 1970.
    day bigint not null,
    spent bigint not null,
    reserved bigint not null,
    primary key (scope, day)
);
create index budgets_by_day on budgets (day);
-- What running turns have reserved. No row is left of a turn that was settled.
create table reservations (
    turn_id uuid not null references turns (id) on delete cascade,
    scope text not null,
    day bigint not null,
    tokens bigint not null,
    primary key (turn_id, scope)
);
