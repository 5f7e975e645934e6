-- What a signed-in user's client calls a conversation.
alter table conversations add column session_key text;
create unique index conversations_by_session_key on conversations (user_id, session_key)
    where session_key is not null;
