delete from turn_pieces;
delete from turn_events;
alter table turn_pieces rename column records to frames;
alter table turn_events rename column records to frames;
update conversations set fence = fence + 1, owner = null, lease_until = current_timestamp where running_turn is not null;
