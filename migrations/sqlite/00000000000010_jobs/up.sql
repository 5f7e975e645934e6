-- What is to be done once, however often it takes and whoever dies meanwhile. No row is left of what is done.
create table jobs (
    id blob primary key,
    kind text not null,
    payload text not null,
    -- When it is to be tried next. Whoever tries it puts this off, so that another one does if they die.
    run_at bigint not null,
    attempts integer not null,
    last_error text,
    -- Tried often enough: for an operator to look at.
    dead boolean not null,
    created_at bigint not null
);
create index jobs_to_run on jobs (run_at) where not dead;
