-- The people at the desk.
create table experts (
    id uuid primary key,
    -- Who they are, as their tokens call them.
    sub text not null unique,
    name text,
    available boolean not null,
    skills jsonb not null,
    created_at timestamptz not null,
    seen_at timestamptz not null
);

-- Who has a conversation, since when it waits for somebody, who was asked first, and why.
alter table conversations add column expert_id uuid references experts (id) on delete set null;
alter table conversations add column assigned_to uuid references experts (id) on delete set null;
alter table conversations add column waiting_since timestamptz;
alter table conversations add column reason text;
alter table conversations add column skill text;
create index conversations_waiting on conversations (waiting_since) where waiting_since is not null;
create index conversations_by_expert on conversations (expert_id) where expert_id is not null;

alter table messages add column expert_id uuid references experts (id) on delete set null;

-- Of an answer that a person took over: how many of its frames count.
alter table turns add column keep bigint;

-- Who read or wrote what, without what it says. The ids stay when it is deleted.
create table audit_log (
    id uuid primary key,
    at timestamptz not null,
    actor text not null,
    role text not null,
    action text not null,
    conversation_id uuid
);
create index audit_log_by_conversation on audit_log (conversation_id, id);
