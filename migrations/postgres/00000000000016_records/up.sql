-- The logs hold records, a line of JSON each, and no longer events of an event stream. What was logged before is
-- dropped: finished answers are in the history, and running turns begin anew, as if their servers had died. Their
-- owners are cleared, so that a server of an earlier version cannot renew its leases, and their fences are raised, so
-- that it cannot write. It cannot write a log either: the columns have other names.
delete from turn_pieces;
delete from turn_events;
alter table turn_pieces rename column frames to records;
alter table turn_events rename column frames to records;
update conversations set fence = fence + 1, owner = null, lease_until = current_timestamp where running_turn is not null;
