-- Until when the running turn is read on another instance than its own.
alter table conversations add column watched_until bigint;
