-- Until when the running turn is read on another instance than its own.
alter table conversations add column watched_until timestamptz;

-- The newest turn of a conversation is the one with the highest fence: clocks differ.
drop index turns_by_conversation;
create index turns_by_conversation on turns (conversation_id, fence desc);
