-- The one clock. statement_timestamp(): now() stands still within a transaction.
create function db_now() returns timestamptz language sql stable as
$$ select statement_timestamp() $$;
create function db_now_plus(ms bigint) returns timestamptz language sql stable as
$$ select db_now() + ms * interval '1 millisecond' $$;

create table settings (
    key text primary key,
    value text not null
);

create table users (
    id uuid primary key,
    -- The channel's handle: chat_{device_id}, user_{sub} or a phone number.
    phone_number text not null unique,
    name text,
    created_at timestamptz not null,
    last_seen_at timestamptz not null
);

create table conversations (
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    title text,
    user_input text not null,
    agent_path text,
    mode text not null default 'ai',
    status text not null default 'active',
    -- What the agent remembers of this conversation: slots, answers.
    state jsonb not null,
    last_seq bigint not null,
    -- The running turn and who may write it.
    running_turn uuid,
    owner uuid,
    lease_until timestamptz,
    fence bigint not null,
    stop_requested boolean not null default false,
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index conversations_by_user on conversations (user_id, created_at desc);
create index conversations_running on conversations (lease_until) where running_turn is not null;

create table session_locks (
    device_id text primary key,
    -- Deferred: a lock is taken before the conversation that it opens is written.
    conversation_id uuid not null references conversations (id) on delete cascade deferrable initially deferred,
    active_agent text,
    locked_at timestamptz not null,
    session_ttl bigint not null,
    expires_at timestamptz not null,
    -- The device's rate limit: how many messages since when.
    window_began timestamptz not null,
    window_count bigint not null
);
create index session_locks_by_expiry on session_locks (expires_at);
create index session_locks_by_conversation on session_locks (conversation_id);

create table turns (
    id uuid primary key,
    conversation_id uuid not null references conversations (id) on delete cascade,
    device_id text,
    attempt integer not null,
    fence bigint not null,
    idempotency_key text,
    request_hash bytea,
    finish_reason text,
    error_code text,
    started_at timestamptz not null,
    finished_at timestamptz,
    unique (device_id, idempotency_key)
);
create index turns_by_conversation on turns (conversation_id, started_at desc);

create table messages (
    id uuid primary key,
    conversation_id uuid not null references conversations (id) on delete cascade,
    turn_id uuid references turns (id) on delete cascade,
    seq bigint not null,
    role text not null,
    direction text not null,
    message_type text not null,
    body text not null,
    media_urls jsonb not null,
    audio_urls jsonb not null,
    component_type text,
    component_data jsonb,
    tool_name text,
    tool_success boolean,
    finish_reason text,
    metadata jsonb,
    created_at timestamptz not null,
    unique (conversation_id, seq)
);
create index messages_by_turn on messages (turn_id);

create table turn_events (
    turn_id uuid not null references turns (id) on delete cascade,
    attempt integer not null,
    last_seq bigint not null,
    frames bytea not null,
    expires_at timestamptz not null,
    primary key (turn_id, attempt)
);
create index turn_events_by_expiry on turn_events (expires_at);
