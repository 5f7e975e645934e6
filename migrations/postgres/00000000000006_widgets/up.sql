-- The widget that a message answers. One answer for each.
alter table messages add column answers uuid;
create unique index messages_by_answer on messages (answers) where answers is not null;
