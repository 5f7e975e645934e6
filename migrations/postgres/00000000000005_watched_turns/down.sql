drop index turns_by_conversation;
create index turns_by_conversation on turns (conversation_id, started_at desc);
alter table conversations drop column watched_until;
