-- How much a device or user has written in its minute, where its session lock was deleted before that was over: under
-- a keyed hash, which says nothing of them.
create table kept_windows (
    limit_key text primary key not null,
    window_began bigint not null,
    window_count bigint not null
);

-- Budgets of devices were kept under their ids; they are under keyed hashes now.
delete from budgets where scope like 'device:%';
