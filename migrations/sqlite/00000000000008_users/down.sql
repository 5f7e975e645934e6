drop index conversations_by_session_key;
alter table conversations drop column session_key;
