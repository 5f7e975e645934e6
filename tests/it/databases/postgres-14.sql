-- A database as version 14 of the schema left it.
set check_function_bodies = false;
CREATE FUNCTION public.audit_log_is_kept() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    raise exception 'the audit is only added to';
end $$;
CREATE FUNCTION public.begin_turns_950404d08a16(turn_ids uuid[], message_ids uuid[], new_users uuid[], new_conversations uuid[], device_ids text[], handles text[], agents text[], ttls bigint[], bodies text[], all_media_urls jsonb[], all_audio_urls jsonb[], all_metadata jsonb[], idempotency_keys text[], request_hashes bytea[], window_ms bigint, new_owner uuid, lease_ms bigint, most_messages bigint) RETURNS TABLE(turn_id uuid, active_agent text, conversation_id uuid, user_id uuid, user_name text, fence bigint, last_seq bigint, agent_path text, mode text, state jsonb, context jsonb, created_at timestamp with time zone)
    LANGUAGE plpgsql
    SET lock_timeout TO '200'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    AS $$
#variable_conflict use_column
declare
    now constant timestamptz := db_now();
    leased_until constant timestamptz := db_now_plus(lease_ms);
    last_window constant timestamptz := db_now_plus(-window_ms);
    lock session_locks;
    held conversations;
begin
    for n in 1 .. cardinality(turn_ids) loop
        if idempotency_keys[n] is not null and exists (
            select from turns as known
            where known.device_id = device_ids[n] and known.idempotency_key = idempotency_keys[n]
        ) then
            continue;
        end if;
        insert into session_locks as held (
            device_id, conversation_id, active_agent, locked_at, session_ttl, expires_at,
            window_began, window_count
        )
        values (
            device_ids[n], new_conversations[n], agents[n], now, ttls[n], db_now_plus(ttls[n] * 1000),
            now, 1
        )
        on conflict (device_id) do update set
            conversation_id = case
                when held.expires_at <= now then excluded.conversation_id
                else held.conversation_id end,
            active_agent = case
                when held.expires_at <= now or excluded.active_agent is not null
                then excluded.active_agent else held.active_agent end,
            locked_at = excluded.locked_at,
            session_ttl = case
                when held.expires_at <= now or excluded.active_agent is not null
                then excluded.session_ttl else held.session_ttl end,
            expires_at = case
                when held.expires_at <= now or excluded.active_agent is not null
                then excluded.expires_at else db_now_plus(held.session_ttl * 1000) end,
            window_began = case
                when held.window_began <= last_window then excluded.window_began
                else held.window_began end,
            window_count = case
                when held.window_began <= last_window then 1
                else held.window_count + 1 end
        where
            case when held.window_began <= last_window then 1 else held.window_count + 1 end
                <= most_messages
            and (
                held.expires_at <= now
                or not exists (
                    select from conversations as busy
                    where busy.id = held.conversation_id and busy.running_turn is not null
                )
            )
        returning * into lock;
        if not found then
            continue;
        end if;
        user_name := null;
        if lock.conversation_id = new_conversations[n] then
            insert into users (id, phone_number, created_at, last_seen_at)
            values (new_users[n], handles[n], now, now)
            on conflict (phone_number) do update set last_seen_at = excluded.last_seen_at
            returning id, name into user_id, user_name;
            insert into conversations (
                id, user_id, user_input, state, last_seq, running_turn, owner, lease_until, fence,
                created_at, updated_at
            )
            values (
                new_conversations[n], user_id, bodies[n], '{}', 1, turn_ids[n], new_owner,
                leased_until, 1, now, now
            )
            returning * into held;
        else
            update conversations as c set
                running_turn = turn_ids[n],
                owner = new_owner,
                lease_until = leased_until,
                stop_requested = false,
                status = 'active',
                fence = c.fence + 1,
                last_seq = c.last_seq + 1,
                visitor_types_until = null,
                updated_at = now
            where c.id = lock.conversation_id and c.running_turn is null
            returning * into held;
        end if;
        if found then
            insert into turns (
                id, conversation_id, device_id, attempt, fence, idempotency_key, request_hash, started_at
            )
            values (
                turn_ids[n], held.id, device_ids[n], 1, held.fence, idempotency_keys[n],
                request_hashes[n], now
            )
            on conflict (device_id, idempotency_key) do nothing;
        end if;
        if not found then
            raise exception 'another turn began meanwhile' using errcode = 'serialization_failure';
        end if;
        insert into messages (
            id, conversation_id, turn_id, seq, role, direction, message_type, body,
            media_urls, audio_urls, metadata, created_at
        )
        values (
            message_ids[n], held.id, turn_ids[n], held.last_seq, 'user', 'incoming', 'user_input',
            bodies[n], all_media_urls[n], all_audio_urls[n], all_metadata[n], now
        );
        turn_id := turn_ids[n];
        active_agent := lock.active_agent;
        conversation_id := held.id;
        user_id := held.user_id;
        fence := held.fence;
        last_seq := held.last_seq;
        agent_path := held.agent_path;
        mode := held.mode;
        state := held.state;
        context := held.context;
        created_at := now;
        return next;
    end loop;
end
$$;
CREATE FUNCTION public.db_now() RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    AS $$ select statement_timestamp() $$;
CREATE FUNCTION public.db_now_plus(ms bigint) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    AS $$ select db_now() + ms * interval '1 millisecond' $$;
CREATE FUNCTION public.finish_turns_7f4b6f0ef331(turn_ids uuid[], conversation_ids uuid[], user_ids uuid[], device_ids text[], fences bigint[], finish_reasons text[], error_codes text[], message_ids uuid[], bodies text[], new_agents text[], ttls bigint[], new_states jsonb[], new_contexts jsonb[], user_names text[], all_frames bytea[], last_seqs bigint[], logs_kept bigint[], attempts integer[], all_input_tokens bigint[], all_output_tokens bigint[], job_ids uuid[], judgings jsonb[]) RETURNS TABLE(finished_turn uuid)
    LANGUAGE plpgsql
    SET lock_timeout TO '200'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    AS $$
#variable_conflict use_column
declare
    now constant timestamptz := db_now();
    released record;
    watched uuid[];
begin
    -- Session locks and users are locked before conversations, as everywhere.
    if cardinality(array_remove(new_agents, null)) > 0 then
        perform from session_locks where device_id = any (device_ids) order by device_id collate "C" for update;
    end if;
    if cardinality(array_remove(user_names, null)) > 0 then
        perform from users where id = any (user_ids) order by id for no key update;
    end if;
    for n in 1 .. cardinality(turn_ids) loop
        update conversations as c set
            running_turn = null,
            owner = null,
            lease_until = null,
            updated_at = now,
            last_seq = c.last_seq + (message_ids[n] is not null)::int,
            agent_path = coalesce(new_agents[n], c.agent_path),
            state = coalesce(new_states[n], c.state),
            context = coalesce(new_contexts[n], c.context)
        where c.id = conversation_ids[n] and c.fence = fences[n] and c.running_turn = turn_ids[n]
        returning c.last_seq, c.watched_until > now as is_watched into released;
        if not found then
            continue;
        end if;
        if message_ids[n] is not null then
            insert into messages (
                id, conversation_id, turn_id, seq, role, direction, message_type, body,
                media_urls, audio_urls, finish_reason, created_at
            )
            values (
                message_ids[n], conversation_ids[n], turn_ids[n], released.last_seq, 'assistant',
                'outgoing', 'assistant_response', bodies[n], '[]', '[]', finish_reasons[n], now
            );
        end if;
        if judgings[n] is not null then
            insert into jobs (id, kind, payload, run_at, attempts, dead, created_at)
            values (job_ids[n], 'evaluate', judgings[n], now, 0, false, now);
        end if;
        if new_agents[n] is not null then
            update session_locks set
                active_agent = new_agents[n],
                locked_at = now,
                session_ttl = ttls[n],
                expires_at = db_now_plus(ttls[n] * 1000)
            where device_id = device_ids[n] and conversation_id = conversation_ids[n];
        end if;
        if user_names[n] is not null then
            update users set name = user_names[n] where id = user_ids[n];
        end if;
        update turns set
            finish_reason = finish_reasons[n],
            error_code = error_codes[n],
            input_tokens = all_input_tokens[n],
            output_tokens = all_output_tokens[n],
            finished_at = now
        where id = turn_ids[n];
        insert into turn_events (turn_id, attempt, last_seq, frames, expires_at)
        values (turn_ids[n], attempts[n], last_seqs[n], all_frames[n], db_now_plus(logs_kept[n]));
        delete from turn_pieces where turn_id = turn_ids[n] and attempt = attempts[n];
        if released.is_watched then
            watched := watched || turn_ids[n];
        end if;
        finished_turn := turn_ids[n];
        return next;
    end loop;
    -- Only while somebody listens: a notification takes a lock that all commits share.
    if watched is not null then
        perform pg_notify('frontdesk', array_to_string(watched, ','));
    end if;
end
$$;
CREATE FUNCTION public.renew_leases_c2dadfb1de48(renewed_turns uuid[], own uuid, lease_ms bigint) RETURNS TABLE(renewed_turn uuid, is_to_stop boolean)
    LANGUAGE plpgsql
    SET lock_timeout TO '1500'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    AS $$
begin
    return query
with held as (
    select id
    from conversations
    where running_turn = any (renewed_turns) and owner = own
    order by id
    for no key update
)
update conversations as c set lease_until = db_now_plus(lease_ms)
from held
where c.id = held.id and c.owner = own and c.running_turn = any (renewed_turns)
returning c.running_turn, c.stop_requested;
end
$$;
CREATE FUNCTION public.write_logs_f7b72aa5ffd6(turn_ids uuid[], conversation_ids uuid[], fences bigint[], attempts integer[], first_seqs bigint[], last_seqs bigint[], all_frames bytea[]) RETURNS TABLE(written_turn uuid, is_to_stop boolean, is_read_elsewhere boolean)
    LANGUAGE plpgsql
    SET lock_timeout TO '500'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
#variable_conflict use_column
begin
    return query
with input as materialized (
    select *
    from unnest(
        turn_ids, conversation_ids, fences, attempts, first_seqs, last_seqs, all_frames
    ) as t (
        turn_id, conversation_id, fence, attempt, first_seq, last_seq, frames
    )
),
mine as (
    select input.*, c.stop_requested, coalesce(c.watched_until > db_now(), false) as is_watched
    from input join conversations as c on c.id = conversation_id
    where c.fence = input.fence and c.running_turn = turn_id
    order by c.id
    for no key update of c
),
written as (
    insert into turn_pieces (turn_id, attempt, first_seq, last_seq, frames, written_at)
    select turn_id, attempt, first_seq, last_seq, frames, db_now() from mine
    on conflict do nothing
),
hinted as (
    -- Only while somebody listens: a notification takes a lock that all commits share.
    select pg_notify('frontdesk', string_agg(turn_id::text, ','))
    from (select turn_id from mine where is_watched limit 100) as watched
    having count(*) > 0
)
select turn_id, stop_requested, is_watched from mine, (select count(*) from hinted) as hints;
end
$$;
CREATE TABLE public.__diesel_schema_migrations (
    version character varying(50) NOT NULL,
    run_on timestamp without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);
CREATE TABLE public.audit_log (
    id uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    role text NOT NULL,
    action text NOT NULL,
    conversation_id uuid
);
CREATE TABLE public.budgets (
    scope text NOT NULL,
    day bigint NOT NULL,
    spent bigint NOT NULL,
    reserved bigint NOT NULL
);
CREATE TABLE public.conversations (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    title text,
    user_input text NOT NULL,
    agent_path text,
    mode text DEFAULT 'ai'::text NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    state jsonb NOT NULL,
    last_seq bigint NOT NULL,
    running_turn uuid,
    owner uuid,
    lease_until timestamp with time zone,
    fence bigint NOT NULL,
    stop_requested boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    watched_until timestamp with time zone,
    context jsonb,
    session_key text,
    expert_id uuid,
    assigned_to uuid,
    waiting_since timestamp with time zone,
    reason text,
    skill text,
    visitor_types_until timestamp with time zone,
    expert_types_until timestamp with time zone
);
CREATE TABLE public.evaluations (
    id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    message_id uuid NOT NULL,
    judge text NOT NULL,
    criterion text NOT NULL,
    status text NOT NULL,
    score double precision,
    reason text NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    verdict text,
    reviewed_by text,
    reviewed_at timestamp with time zone
);
CREATE TABLE public.experts (
    id uuid NOT NULL,
    sub text NOT NULL,
    name text,
    available boolean NOT NULL,
    skills jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL
);
CREATE TABLE public.jobs (
    id uuid NOT NULL,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    run_at timestamp with time zone NOT NULL,
    attempts integer NOT NULL,
    last_error text,
    dead boolean NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.messages (
    id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    turn_id uuid,
    seq bigint NOT NULL,
    role text NOT NULL,
    direction text NOT NULL,
    message_type text NOT NULL,
    body text NOT NULL,
    media_urls jsonb NOT NULL,
    audio_urls jsonb NOT NULL,
    component_type text,
    component_data jsonb,
    tool_name text,
    tool_success boolean,
    finish_reason text,
    metadata jsonb,
    created_at timestamp with time zone NOT NULL,
    answers uuid,
    expert_id uuid,
    retracted text
);
CREATE TABLE public.reservations (
    turn_id uuid NOT NULL,
    scope text NOT NULL,
    day bigint NOT NULL,
    tokens bigint NOT NULL
);
CREATE TABLE public.session_locks (
    device_id text NOT NULL,
    conversation_id uuid NOT NULL,
    active_agent text,
    locked_at timestamp with time zone NOT NULL,
    session_ttl bigint NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    window_began timestamp with time zone NOT NULL,
    window_count bigint NOT NULL
);
CREATE TABLE public.settings (
    key text NOT NULL,
    value text NOT NULL
);
CREATE TABLE public.turn_events (
    turn_id uuid NOT NULL,
    attempt integer NOT NULL,
    last_seq bigint NOT NULL,
    frames bytea NOT NULL,
    expires_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.turn_events ALTER COLUMN frames SET COMPRESSION lz4;
CREATE TABLE public.turn_pieces (
    turn_id uuid NOT NULL,
    attempt integer NOT NULL,
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    frames bytea NOT NULL,
    written_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.turn_pieces ALTER COLUMN frames SET COMPRESSION lz4;
CREATE TABLE public.turns (
    id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    device_id text,
    attempt integer NOT NULL,
    fence bigint NOT NULL,
    idempotency_key text,
    request_hash bytea,
    finish_reason text,
    error_code text,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    merged_into uuid,
    input_tokens bigint,
    output_tokens bigint,
    keep bigint
);
CREATE TABLE public.users (
    id uuid NOT NULL,
    phone_number text NOT NULL,
    name text,
    created_at timestamp with time zone NOT NULL,
    last_seen_at timestamp with time zone NOT NULL
);
INSERT INTO public.__diesel_schema_migrations VALUES
	('00000000000001', '2026-11-27 00:06:31.659272'),
	('00000000000002', '2026-11-27 00:06:31.659272'),
	('00000000000003', '2026-11-27 00:06:31.659272'),
	('00000000000004', '2026-11-27 00:06:31.659272'),
	('00000000000005', '2026-11-27 00:06:31.659272'),
	('00000000000006', '2026-11-27 00:06:31.659272'),
	('00000000000007', '2026-11-27 00:06:31.659272'),
	('00000000000008', '2026-11-27 00:06:31.659272'),
	('00000000000009', '2026-11-27 00:06:31.659272'),
	('00000000000010', '2026-11-27 00:06:31.659272'),
	('00000000000011', '2026-11-27 00:06:31.659272'),
	('00000000000012', '2026-11-27 00:06:31.659272'),
	('00000000000013', '2026-11-27 00:06:31.659272'),
	('00000000000014', '2026-11-27 00:06:31.659272');
INSERT INTO public.audit_log VALUES
	('01a21a53-3efb-719a-879c-78961568b47e', '2026-11-27 00:06:32.956194+00', 'eva', 'expert', 'read_queue', '01a21a53-3ee5-71c5-8de2-dd4043e349fb'),
	('01a21a53-3f08-70e9-b1a5-b6f1568c0a76', '2026-11-27 00:06:32.968444+00', 'eva', 'expert', 'claim', '01a21a53-3ee5-71c5-8de2-dd4043e349fb'),
	('01a21a53-3f12-7192-8bdd-60228e68d3db', '2026-11-27 00:06:32.978514+00', 'eva', 'expert', 'write', '01a21a53-3ee5-71c5-8de2-dd4043e349fb');
INSERT INTO public.conversations VALUES
	('01a21a53-3a4f-71e6-b8e4-bcb8af632c06', '01a21a53-3a4f-71e6-b8e4-bcbad3d38b01', NULL, 'Hello, I want to schedule an appointment', 'support', 'ai', 'active', '{"support": {"done": true, "asked": null, "slots": {"contact": "anna@example.org", "question": "my order"}, "misses": 0, "greeted": true}, "scheduling": {"done": false, "asked": "consent", "slots": {}, "misses": 0, "greeted": true}}', 8, NULL, NULL, NULL, 4, false, '2026-11-27 00:06:31.763636+00', '2026-11-27 00:06:32.142708+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('01a21a53-3bd6-751c-937b-8f3be649028f', '01a21a53-3bd6-751c-937b-8f3d42c55a44', NULL, 'Hello', 'support', 'ai', 'active', '{"support": {"done": false, "asked": "question", "slots": {}, "misses": 0, "greeted": true}}', 2, NULL, NULL, NULL, 1, false, '2026-11-27 00:06:32.150973+00', '2026-11-27 00:06:32.161114+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('01a21a53-3ea4-732f-b7f8-ad64b48cfa07', '01a21a53-3ea4-732f-b7f8-ad66c2b1be0f', NULL, 'Where is my order?', 'support', 'ai', 'active', '{"support": {"done": false, "asked": "question", "slots": {}, "misses": 0, "greeted": true}}', 2, NULL, NULL, NULL, 1, false, '2026-11-27 00:06:32.878007+00', '2026-11-27 00:06:32.914089+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('01a21a53-3ee5-71c5-8de2-dd4043e349fb', '01a21a53-3ea4-732f-b7f8-ad66c2b1be0f', NULL, 'I want a person', NULL, 'expert', 'active', '{}', 4, NULL, NULL, NULL, 2, false, '2026-11-27 00:06:32.936647+00', '2026-11-27 00:06:32.97561+00', NULL, NULL, 'order', '01a21a53-3edf-77bb-8734-6b0e1647c11c', NULL, NULL, 'The visitor asked for a person.', NULL, NULL, NULL),
	('01a21a53-41ed-7089-8de5-871408488034', '01a21a53-41ed-7089-8de5-871657815f77', NULL, 'Hello, I want to schedule an appointment', NULL, 'ai', 'active', '{}', 1, '01a21a53-41ed-7089-8de5-8715139b8c1f', '01a21a53-41ab-742d-94b8-10a7303a144b', '2026-11-27 00:06:45.249781+00', 1, false, '2026-11-27 00:06:33.71202+00', '2026-11-27 00:06:33.71202+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.experts VALUES
	('01a21a53-3edf-77bb-8734-6b0e1647c11c', 'eva', 'Eva', true, '["orders"]', '2026-11-27 00:06:32.9286+00', '2026-11-27 00:06:32.973293+00');
INSERT INTO public.messages VALUES
	('01a21a53-3a4f-71e6-b8e4-bcbba000f333', '01a21a53-3a4f-71e6-b8e4-bcb8af632c06', '01a21a53-3a4f-71e6-b8e4-bcb938e8b107', 1, 'user', 'incoming', 'user_input', 'Hello, I want to schedule an appointment', '[]', '[]', NULL, NULL, NULL, NULL, NULL, '{"page": "/prices"}', '2026-11-27 00:06:31.763636+00', NULL, NULL, NULL),
	('01a21a53-3b2d-743d-b879-ec8cf04ce55c', '01a21a53-3a4f-71e6-b8e4-bcb8af632c06', '01a21a53-3a4f-71e6-b8e4-bcb938e8b107', 2, 'assistant', 'outgoing', 'assistant_response', 'Hello! I''m Anna, and I book the appointments at the clinic. May I ask you a few questions to find the right time for you?', '[]', '[]', NULL, NULL, NULL, NULL, 'stop', NULL, '2026-11-27 00:06:31.991871+00', NULL, NULL, NULL),
	('01a21a53-3b64-7438-9c00-d3bda9fbc283', '01a21a53-3a4f-71e6-b8e4-bcb8af632c06', '01a21a53-3b64-7438-9c00-d3bb278daa44', 3, 'user', 'incoming', 'user_input', 'My name is Anna Roe and I need help with my order', '[]', '[]', NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-27 00:06:32.040133+00', NULL, NULL, NULL),
	('01a21a53-3b9b-7745-95cc-262f4e898d07', '01a21a53-3a4f-71e6-b8e4-bcb8af632c06', '01a21a53-3b64-7438-9c00-d3bb278daa44', 4, 'assistant', 'outgoing', 'assistant_response', 'Hello! This is the support desk. I''ll pass that on to the team. Which e-mail address or phone number may they answer to?', '[]', '[]', NULL, NULL, NULL, NULL, 'stop', NULL, '2026-11-27 00:06:32.09354+00', NULL, NULL, NULL),
	('01a21a53-3bac-7590-ba6b-f65d57988263', '01a21a53-3a4f-71e6-b8e4-bcb8af632c06', '01a21a53-3bac-7590-ba6b-f65b3b66f4dd', 5, 'user', 'incoming', 'user_input', 'anna@example.org', '[]', '[]', NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-27 00:06:32.115344+00', NULL, NULL, NULL),
	('01a21a53-3bbb-7017-aa84-01876d890e44', '01a21a53-3a4f-71e6-b8e4-bcb8af632c06', '01a21a53-3bac-7590-ba6b-f65b3b66f4dd', 6, 'assistant', 'outgoing', 'assistant_response', 'Thank you. I''ve noted it for the team: "my order". They will answer to anna@example.org.', '[]', '[]', NULL, NULL, NULL, NULL, 'stop', NULL, '2026-11-27 00:06:32.124784+00', NULL, NULL, NULL),
	('01a21a53-3bc9-7178-98ba-268a67f647dd', '01a21a53-3a4f-71e6-b8e4-bcb8af632c06', '01a21a53-3bc9-7178-98ba-268876a8681d', 7, 'user', 'incoming', 'user_input', 'next Monday at 10', '[]', '[]', NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-27 00:06:32.138347+00', NULL, NULL, NULL),
	('01a21a53-3bcd-772e-99a3-db5ff253ce60', '01a21a53-3a4f-71e6-b8e4-bcb8af632c06', '01a21a53-3bc9-7178-98ba-268876a8681d', 8, 'assistant', 'outgoing', 'assistant_response', 'Your question is with the team; they will answer to anna@example.org. Is there anything else?', '[]', '[]', NULL, NULL, NULL, NULL, 'stop', NULL, '2026-11-27 00:06:32.142708+00', NULL, NULL, NULL),
	('01a21a53-3bd6-751c-937b-8f3e6b607d2e', '01a21a53-3bd6-751c-937b-8f3be649028f', '01a21a53-3bd6-751c-937b-8f3c415cd29a', 1, 'user', 'incoming', 'user_input', 'Hello', '["https://example.org/a.png"]', '[]', NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-27 00:06:32.150973+00', NULL, NULL, NULL),
	('01a21a53-3be0-7284-a40b-278171030385', '01a21a53-3bd6-751c-937b-8f3be649028f', '01a21a53-3bd6-751c-937b-8f3c415cd29a', 2, 'assistant', 'outgoing', 'assistant_response', 'Hello! This is the support desk. What can I help you with?', '[]', '[]', NULL, NULL, NULL, NULL, 'stop', NULL, '2026-11-27 00:06:32.161114+00', NULL, NULL, NULL),
	('01a21a53-3ea4-732f-b7f8-ad678cb163b6', '01a21a53-3ea4-732f-b7f8-ad64b48cfa07', '01a21a53-3ea4-732f-b7f8-ad65a11bab18', 1, 'user', 'incoming', 'user_input', 'Where is my order?', '[]', '[]', NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-27 00:06:32.884067+00', NULL, NULL, NULL),
	('01a21a53-3ecf-763e-bc2c-5c58a9b30f9a', '01a21a53-3ea4-732f-b7f8-ad64b48cfa07', '01a21a53-3ea4-732f-b7f8-ad65a11bab18', 2, 'assistant', 'outgoing', 'assistant_response', 'Hello! This is the support desk. What can I help you with?', '[]', '[]', NULL, NULL, NULL, NULL, 'stop', NULL, '2026-11-27 00:06:32.914089+00', NULL, NULL, NULL),
	('01a21a53-3ee5-71c5-8de2-dd43ec831bd3', '01a21a53-3ee5-71c5-8de2-dd4043e349fb', '01a21a53-3ee5-71c5-8de2-dd410c0239b8', 1, 'user', 'incoming', 'user_input', 'I want a person', '[]', '[]', NULL, NULL, NULL, NULL, NULL, '{"asks_for": "person"}', '2026-11-27 00:06:32.937593+00', NULL, NULL, NULL),
	('01a21a53-3ef2-751f-801b-20c5a1c12c0b', '01a21a53-3ee5-71c5-8de2-dd4043e349fb', NULL, 2, 'system', 'outgoing', 'system_message', 'I have asked a colleague to join. You are number 1 in the queue; what you write meanwhile is kept.', '[]', '[]', NULL, NULL, NULL, NULL, NULL, '{"mode": "expert"}', '2026-11-27 00:06:32.946694+00', NULL, NULL, NULL),
	('01a21a53-3f05-7310-bb95-6482e4bb197d', '01a21a53-3ee5-71c5-8de2-dd4043e349fb', NULL, 3, 'system', 'outgoing', 'system_message', 'Eva is with you now.', '[]', '[]', NULL, NULL, NULL, NULL, NULL, '{"mode": "expert"}', '2026-11-27 00:06:32.968025+00', NULL, NULL, NULL),
	('bcd82b28-0ee5-5fc8-8aa6-9dac0fe5353e', '01a21a53-3ee5-71c5-8de2-dd4043e349fb', NULL, 4, 'expert', 'outgoing', 'expert_message', 'Hello, this is Eva.', '[]', '[]', NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-27 00:06:32.975965+00', NULL, '01a21a53-3edf-77bb-8734-6b0e1647c11c', NULL),
	('01a21a53-41ed-7089-8de5-8717f3a270b5', '01a21a53-41ed-7089-8de5-871408488034', '01a21a53-41ed-7089-8de5-8715139b8c1f', 1, 'user', 'incoming', 'user_input', 'Hello, I want to schedule an appointment', '[]', '[]', NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-27 00:06:33.71202+00', NULL, NULL, NULL);
INSERT INTO public.session_locks VALUES
	('anna', '01a21a53-3a4f-71e6-b8e4-bcb8af632c06', 'support', '2026-11-27 00:06:32.138347+00', 86400, '2026-11-28 00:06:32.138347+00', '2026-11-27 00:06:31.763636+00', 4),
	('ben', '01a21a53-3bd6-751c-937b-8f3be649028f', 'support', '2026-11-27 00:06:32.161114+00', 86400, '2026-11-28 00:06:32.161114+00', '2026-11-27 00:06:32.150973+00', 1),
	('user/uma', '01a21a53-3ee5-71c5-8de2-dd4043e349fb', NULL, '2026-11-27 00:06:32.934806+00', 86400, '2026-12-27 00:06:32.966772+00', '2026-11-27 00:06:32.876713+00', 2),
	('cut', '01a21a53-41ed-7089-8de5-871408488034', NULL, '2026-11-27 00:06:33.71202+00', 86400, '2026-11-28 00:06:33.71202+00', '2026-11-27 00:06:33.71202+00', 1);
INSERT INTO public.turn_events VALUES
	('01a21a53-3a4f-71e6-b8e4-bcb938e8b107', 1, 26, '\x69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a310a646174613a207b22636f6e74656e74223a2248656c6c6f2120222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313133315a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a320a646174613a207b22636f6e74656e74223a2249276d20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313435345a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a330a646174613a207b22636f6e74656e74223a22416e6e612c20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313437335a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a340a646174613a207b22636f6e74656e74223a22616e6420222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313438315a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a350a646174613a207b22636f6e74656e74223a224920222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313438355a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a360a646174613a207b22636f6e74656e74223a22626f6f6b20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313439325a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a370a646174613a207b22636f6e74656e74223a2274686520222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313530395a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a380a646174613a207b22636f6e74656e74223a226170706f696e746d656e747320222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313531355a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a390a646174613a207b22636f6e74656e74223a22617420222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313532325a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a31300a646174613a207b22636f6e74656e74223a2274686520222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313532395a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a31310a646174613a207b22636f6e74656e74223a22636c696e69632e20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313533345a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a31320a646174613a207b22636f6e74656e74223a224d617920222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313534325a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a31330a646174613a207b22636f6e74656e74223a224920222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313534385a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a31340a646174613a207b22636f6e74656e74223a2261736b20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313535345a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a31350a646174613a207b22636f6e74656e74223a22796f7520222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313535395a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a31360a646174613a207b22636f6e74656e74223a226120222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313536345a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a31370a646174613a207b22636f6e74656e74223a2266657720222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313536385a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a31380a646174613a207b22636f6e74656e74223a227175657374696f6e7320222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313537345a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a31390a646174613a207b22636f6e74656e74223a22746f20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313538305a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a32300a646174613a207b22636f6e74656e74223a2266696e6420222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313538355a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a32310a646174613a207b22636f6e74656e74223a2274686520222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313539305a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a32320a646174613a207b22636f6e74656e74223a22726967687420222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313539385a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a32330a646174613a207b22636f6e74656e74223a2274696d6520222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313630345a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a32340a646174613a207b22636f6e74656e74223a22666f7220222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313630395a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a32350a646174613a207b22636f6e74656e74223a22796f753f222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313631345a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336134662d373165362d623865342d6263623933386538623130372e313a32360a646174613a207b22636f6e74656e74223a22222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33312e3938313831365a222c2269735f66696e616c223a747275652c226167656e74223a227363686564756c696e67222c226d6573736167655f6964223a2230316132316135332d336232642d373433642d623837392d656338636630346365353563222c2266696e6973685f726561736f6e223a2273746f70227d0a0a', '2026-11-27 01:06:31.991871+00'),
	('01a21a53-3b64-7438-9c00-d3bb278daa44', 1, 25, '\x69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a310a646174613a207b22636f6e74656e74223a22222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3036363433355a222c2269735f66696e616c223a66616c73652c2274797065223a226167656e74222c226167656e74223a22737570706f7274227d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a320a646174613a207b22636f6e74656e74223a2248656c6c6f2120222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313535395a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a330a646174613a207b22636f6e74656e74223a225468697320222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313632325a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a340a646174613a207b22636f6e74656e74223a22697320222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313633355a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a350a646174613a207b22636f6e74656e74223a2274686520222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313634305a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a360a646174613a207b22636f6e74656e74223a22737570706f727420222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313635355a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a370a646174613a207b22636f6e74656e74223a226465736b2e20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313637325a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a380a646174613a207b22636f6e74656e74223a2249276c6c20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313638305a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a390a646174613a207b22636f6e74656e74223a227061737320222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313638355a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a31300a646174613a207b22636f6e74656e74223a227468617420222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313639325a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a31310a646174613a207b22636f6e74656e74223a226f6e20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313639375a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a31320a646174613a207b22636f6e74656e74223a22746f20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313730345a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a31330a646174613a207b22636f6e74656e74223a2274686520222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313730395a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a31340a646174613a207b22636f6e74656e74223a227465616d2e20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313731345a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a31350a646174613a207b22636f6e74656e74223a22576869636820222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313731395a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a31360a646174613a207b22636f6e74656e74223a22652d6d61696c20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313732365a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a31370a646174613a207b22636f6e74656e74223a226164647265737320222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313733315a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a31380a646174613a207b22636f6e74656e74223a226f7220222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313733385a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a31390a646174613a207b22636f6e74656e74223a2270686f6e6520222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313734335a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a32300a646174613a207b22636f6e74656e74223a226e756d62657220222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313734395a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a32310a646174613a207b22636f6e74656e74223a226d617920222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313735335a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a32320a646174613a207b22636f6e74656e74223a227468657920222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313736325a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a32330a646174613a207b22636f6e74656e74223a22616e7377657220222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313736375a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a32340a646174613a207b22636f6e74656e74223a22746f3f222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313737335a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336236342d373433382d396330302d6433626232373864616134342e313a32350a646174613a207b22636f6e74656e74223a22222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3039313838305a222c2269735f66696e616c223a747275652c226167656e74223a22737570706f7274222c226d6573736167655f6964223a2230316132316135332d336239622d373734352d393563632d323632663465383938643037222c2266696e6973685f726561736f6e223a2273746f70227d0a0a', '2026-11-27 01:06:32.09354+00'),
	('01a21a53-3bac-7590-ba6b-f65b3b66f4dd', 1, 16, '\x69643a2030316132316135332d336261632d373539302d626136622d6636356233623636663464642e313a310a646174613a207b22636f6e74656e74223a225468616e6b20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3132333038325a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336261632d373539302d626136622d6636356233623636663464642e313a320a646174613a207b22636f6e74656e74223a22796f752e20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3132333137305a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336261632d373539302d626136622d6636356233623636663464642e313a330a646174613a207b22636f6e74656e74223a224927766520222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3132333138385a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336261632d373539302d626136622d6636356233623636663464642e313a340a646174613a207b22636f6e74656e74223a226e6f74656420222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3132333139375a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336261632d373539302d626136622d6636356233623636663464642e313a350a646174613a207b22636f6e74656e74223a22697420222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3132333230345a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336261632d373539302d626136622d6636356233623636663464642e313a360a646174613a207b22636f6e74656e74223a22666f7220222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3132333231315a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336261632d373539302d626136622d6636356233623636663464642e313a370a646174613a207b22636f6e74656e74223a2274686520222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3132333231395a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336261632d373539302d626136622d6636356233623636663464642e313a380a646174613a207b22636f6e74656e74223a227465616d3a20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3132333232365a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336261632d373539302d626136622d6636356233623636663464642e313a390a646174613a207b22636f6e74656e74223a225c226d7920222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3132333233325a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336261632d373539302d626136622d6636356233623636663464642e313a31300a646174613a207b22636f6e74656e74223a226f726465725c222e20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3132333234305a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336261632d373539302d626136622d6636356233623636663464642e313a31310a646174613a207b22636f6e74656e74223a225468657920222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3132333234365a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336261632d373539302d626136622d6636356233623636663464642e313a31320a646174613a207b22636f6e74656e74223a2277696c6c20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3132333235345a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336261632d373539302d626136622d6636356233623636663464642e313a31330a646174613a207b22636f6e74656e74223a22616e7377657220222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3132333235395a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336261632d373539302d626136622d6636356233623636663464642e313a31340a646174613a207b22636f6e74656e74223a22746f20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3132333236375a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336261632d373539302d626136622d6636356233623636663464642e313a31350a646174613a207b22636f6e74656e74223a22616e6e61406578616d706c652e6f72672e222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3132333237325a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336261632d373539302d626136622d6636356233623636663464642e313a31360a646174613a207b22636f6e74656e74223a22222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3132333333325a222c2269735f66696e616c223a747275652c226167656e74223a22737570706f7274222c226d6573736167655f6964223a2230316132316135332d336262622d373031372d616138342d303138373664383930653434222c2266696e6973685f726561736f6e223a2273746f70227d0a0a', '2026-11-27 01:06:32.124784+00'),
	('01a21a53-3bc9-7178-98ba-268876a8681d', 1, 16, '\x69643a2030316132316135332d336263392d373137382d393862612d3236383837366138363831642e313a310a646174613a207b22636f6e74656e74223a22596f757220222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3134313431365a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336263392d373137382d393862612d3236383837366138363831642e313a320a646174613a207b22636f6e74656e74223a227175657374696f6e20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3134313437365a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336263392d373137382d393862612d3236383837366138363831642e313a330a646174613a207b22636f6e74656e74223a22697320222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3134313438385a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336263392d373137382d393862612d3236383837366138363831642e313a340a646174613a207b22636f6e74656e74223a227769746820222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3134313439385a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336263392d373137382d393862612d3236383837366138363831642e313a350a646174613a207b22636f6e74656e74223a2274686520222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3134313530345a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336263392d373137382d393862612d3236383837366138363831642e313a360a646174613a207b22636f6e74656e74223a227465616d3b20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3134313531315a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336263392d373137382d393862612d3236383837366138363831642e313a370a646174613a207b22636f6e74656e74223a227468657920222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3134313531385a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336263392d373137382d393862612d3236383837366138363831642e313a380a646174613a207b22636f6e74656e74223a2277696c6c20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3134313532355a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336263392d373137382d393862612d3236383837366138363831642e313a390a646174613a207b22636f6e74656e74223a22616e7377657220222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3134313533315a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336263392d373137382d393862612d3236383837366138363831642e313a31300a646174613a207b22636f6e74656e74223a22746f20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3134313533395a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336263392d373137382d393862612d3236383837366138363831642e313a31310a646174613a207b22636f6e74656e74223a22616e6e61406578616d706c652e6f72672e20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3134313534355a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336263392d373137382d393862612d3236383837366138363831642e313a31320a646174613a207b22636f6e74656e74223a22497320222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3134313535355a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336263392d373137382d393862612d3236383837366138363831642e313a31330a646174613a207b22636f6e74656e74223a22746865726520222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3134313536315a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336263392d373137382d393862612d3236383837366138363831642e313a31340a646174613a207b22636f6e74656e74223a22616e797468696e6720222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3134313536375a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336263392d373137382d393862612d3236383837366138363831642e313a31350a646174613a207b22636f6e74656e74223a22656c73653f222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3134313537325a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336263392d373137382d393862612d3236383837366138363831642e313a31360a646174613a207b22636f6e74656e74223a22222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3134313632355a222c2269735f66696e616c223a747275652c226167656e74223a22737570706f7274222c226d6573736167655f6964223a2230316132316135332d336263642d373732652d393961332d646235666632353363653630222c2266696e6973685f726561736f6e223a2273746f70227d0a0a', '2026-11-27 01:06:32.142708+00'),
	('01a21a53-3bd6-751c-937b-8f3c415cd29a', 1, 13, '\x69643a2030316132316135332d336264362d373531632d393337622d3866336334313563643239612e313a310a646174613a207b22636f6e74656e74223a2248656c6c6f2120222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3135393832375a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336264362d373531632d393337622d3866336334313563643239612e313a320a646174613a207b22636f6e74656e74223a225468697320222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3135393930335a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336264362d373531632d393337622d3866336334313563643239612e313a330a646174613a207b22636f6e74656e74223a22697320222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3135393932335a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336264362d373531632d393337622d3866336334313563643239612e313a340a646174613a207b22636f6e74656e74223a2274686520222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3135393933315a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336264362d373531632d393337622d3866336334313563643239612e313a350a646174613a207b22636f6e74656e74223a22737570706f727420222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3135393933395a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336264362d373531632d393337622d3866336334313563643239612e313a360a646174613a207b22636f6e74656e74223a226465736b2e20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3135393934375a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336264362d373531632d393337622d3866336334313563643239612e313a370a646174613a207b22636f6e74656e74223a225768617420222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3135393935385a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336264362d373531632d393337622d3866336334313563643239612e313a380a646174613a207b22636f6e74656e74223a2263616e20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3135393936345a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336264362d373531632d393337622d3866336334313563643239612e313a390a646174613a207b22636f6e74656e74223a224920222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3135393937305a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336264362d373531632d393337622d3866336334313563643239612e313a31300a646174613a207b22636f6e74656e74223a2268656c7020222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3135393937385a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336264362d373531632d393337622d3866336334313563643239612e313a31310a646174613a207b22636f6e74656e74223a22796f7520222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3135393938345a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336264362d373531632d393337622d3866336334313563643239612e313a31320a646174613a207b22636f6e74656e74223a22776974683f222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3135393939335a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336264362d373531632d393337622d3866336334313563643239612e313a31330a646174613a207b22636f6e74656e74223a22222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3136303035305a222c2269735f66696e616c223a747275652c226167656e74223a22737570706f7274222c226d6573736167655f6964223a2230316132316135332d336265302d373238342d613430622d323738313731303330333835222c2266696e6973685f726561736f6e223a2273746f70227d0a0a', '2026-11-27 01:06:32.161114+00'),
	('01a21a53-3ea4-732f-b7f8-ad65a11bab18', 1, 13, '\x69643a2030316132316135332d336561342d373332662d623766382d6164363561313162616231382e313a310a646174613a207b22636f6e74656e74223a2248656c6c6f2120222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3931313734375a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336561342d373332662d623766382d6164363561313162616231382e313a320a646174613a207b22636f6e74656e74223a225468697320222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3931313830355a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336561342d373332662d623766382d6164363561313162616231382e313a330a646174613a207b22636f6e74656e74223a22697320222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3931313831335a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336561342d373332662d623766382d6164363561313162616231382e313a340a646174613a207b22636f6e74656e74223a2274686520222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3931313832305a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336561342d373332662d623766382d6164363561313162616231382e313a350a646174613a207b22636f6e74656e74223a22737570706f727420222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3931313832375a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336561342d373332662d623766382d6164363561313162616231382e313a360a646174613a207b22636f6e74656e74223a226465736b2e20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3931313833335a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336561342d373332662d623766382d6164363561313162616231382e313a370a646174613a207b22636f6e74656e74223a225768617420222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3931313834315a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336561342d373332662d623766382d6164363561313162616231382e313a380a646174613a207b22636f6e74656e74223a2263616e20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3931313834365a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336561342d373332662d623766382d6164363561313162616231382e313a390a646174613a207b22636f6e74656e74223a224920222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3931313835305a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336561342d373332662d623766382d6164363561313162616231382e313a31300a646174613a207b22636f6e74656e74223a2268656c7020222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3931313835365a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336561342d373332662d623766382d6164363561313162616231382e313a31310a646174613a207b22636f6e74656e74223a22796f7520222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3931313836325a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336561342d373332662d623766382d6164363561313162616231382e313a31320a646174613a207b22636f6e74656e74223a22776974683f222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3931313837325a222c2269735f66696e616c223a66616c73657d0a0a69643a2030316132316135332d336561342d373332662d623766382d6164363561313162616231382e313a31330a646174613a207b22636f6e74656e74223a22222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3931313933305a222c2269735f66696e616c223a747275652c226167656e74223a22737570706f7274222c226d6573736167655f6964223a2230316132316135332d336563662d373633652d626332632d356335386139623330663961222c2266696e6973685f726561736f6e223a2273746f70227d0a0a', '2026-11-27 01:06:32.914089+00'),
	('01a21a53-3ee5-71c5-8de2-dd410c0239b8', 1, 2, '\x69643a2030316132316135332d336565352d373163352d386465322d6464343130633032333962382e313a310a646174613a207b22636f6e74656e74223a22222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3933383937355a222c2269735f66696e616c223a66616c73652c2274797065223a226d6f6465222c226d6f6465223a22657870657274227d0a0a69643a2030316132316135332d336565352d373163352d386465322d6464343130633032333962382e313a320a646174613a207b22636f6e74656e74223a22222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33322e3933393034345a222c2269735f66696e616c223a747275652c226d6f6465223a22657870657274222c2266696e6973685f726561736f6e223a2268616e646f6666227d0a0a', '2026-11-27 01:06:32.941591+00');
INSERT INTO public.turn_pieces VALUES
	('01a21a53-41ed-7089-8de5-8715139b8c1f', 1, 1, 1, '\x69643a2030316132316135332d343165642d373038392d386465352d3837313531333962386331662e313a310a646174613a207b22636f6e74656e74223a2248656c6c6f2120222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33332e3737363330395a222c2269735f66696e616c223a66616c73657d0a0a', '2026-11-27 00:06:33.851549+00'),
	('01a21a53-41ed-7089-8de5-8715139b8c1f', 1, 2, 2, '\x69643a2030316132316135332d343165642d373038392d386465352d3837313531333962386331662e313a320a646174613a207b22636f6e74656e74223a2249276d20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33342e3137373336355a222c2269735f66696e616c223a66616c73657d0a0a', '2026-11-27 00:06:34.264878+00'),
	('01a21a53-41ed-7089-8de5-8715139b8c1f', 1, 3, 3, '\x69643a2030316132316135332d343165642d373038392d386465352d3837313531333962386331662e313a330a646174613a207b22636f6e74656e74223a22416e6e612c20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33342e3537383735355a222c2269735f66696e616c223a66616c73657d0a0a', '2026-11-27 00:06:34.671593+00'),
	('01a21a53-41ed-7089-8de5-8715139b8c1f', 1, 4, 4, '\x69643a2030316132316135332d343165642d373038392d386465352d3837313531333962386331662e313a340a646174613a207b22636f6e74656e74223a22616e6420222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33342e3938303131305a222c2269735f66696e616c223a66616c73657d0a0a', '2026-11-27 00:06:35.079319+00'),
	('01a21a53-41ed-7089-8de5-8715139b8c1f', 1, 5, 5, '\x69643a2030316132316135332d343165642d373038392d386465352d3837313531333962386331662e313a350a646174613a207b22636f6e74656e74223a224920222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33352e3338323238365a222c2269735f66696e616c223a66616c73657d0a0a', '2026-11-27 00:06:35.385385+00'),
	('01a21a53-41ed-7089-8de5-8715139b8c1f', 1, 6, 6, '\x69643a2030316132316135332d343165642d373038392d386465352d3837313531333962386331662e313a360a646174613a207b22636f6e74656e74223a22626f6f6b20222c2274696d657374616d70223a22323032362d31312d32375430303a30363a33352e3738333730315a222c2269735f66696e616c223a66616c73657d0a0a', '2026-11-27 00:06:35.793646+00');
INSERT INTO public.turns VALUES
	('01a21a53-3a4f-71e6-b8e4-bcb938e8b107', '01a21a53-3a4f-71e6-b8e4-bcb8af632c06', 'anna', 1, 1, 'anna-1', '\x438597a5d6d3b44f569c28be8e67b2a11f360e4311c338c029d287d3f6672cce', 'stop', NULL, '2026-11-27 00:06:31.763636+00', '2026-11-27 00:06:31.991871+00', NULL, NULL, NULL, NULL),
	('01a21a53-3b64-7438-9c00-d3bb278daa44', '01a21a53-3a4f-71e6-b8e4-bcb8af632c06', 'anna', 1, 2, NULL, NULL, 'stop', NULL, '2026-11-27 00:06:32.040133+00', '2026-11-27 00:06:32.09354+00', NULL, NULL, NULL, NULL),
	('01a21a53-3bac-7590-ba6b-f65b3b66f4dd', '01a21a53-3a4f-71e6-b8e4-bcb8af632c06', 'anna', 1, 3, NULL, NULL, 'stop', NULL, '2026-11-27 00:06:32.115344+00', '2026-11-27 00:06:32.124784+00', NULL, NULL, NULL, NULL),
	('01a21a53-3bc9-7178-98ba-268876a8681d', '01a21a53-3a4f-71e6-b8e4-bcb8af632c06', 'anna', 1, 4, NULL, NULL, 'stop', NULL, '2026-11-27 00:06:32.138347+00', '2026-11-27 00:06:32.142708+00', NULL, NULL, NULL, NULL),
	('01a21a53-3bd6-751c-937b-8f3c415cd29a', '01a21a53-3bd6-751c-937b-8f3be649028f', 'ben', 1, 1, NULL, NULL, 'stop', NULL, '2026-11-27 00:06:32.150973+00', '2026-11-27 00:06:32.161114+00', NULL, NULL, NULL, NULL),
	('01a21a53-3ea4-732f-b7f8-ad65a11bab18', '01a21a53-3ea4-732f-b7f8-ad64b48cfa07', 'user/uma', 1, 1, NULL, NULL, 'stop', NULL, '2026-11-27 00:06:32.88341+00', '2026-11-27 00:06:32.914089+00', NULL, NULL, NULL, NULL),
	('01a21a53-3ee5-71c5-8de2-dd410c0239b8', '01a21a53-3ee5-71c5-8de2-dd4043e349fb', 'user/uma', 1, 1, NULL, NULL, 'handoff', NULL, '2026-11-27 00:06:32.937168+00', '2026-11-27 00:06:32.941215+00', NULL, NULL, NULL, NULL),
	('01a21a53-41ed-7089-8de5-8715139b8c1f', '01a21a53-41ed-7089-8de5-871408488034', 'cut', 1, 1, NULL, NULL, NULL, NULL, '2026-11-27 00:06:33.71202+00', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.users VALUES
	('01a21a53-3a4f-71e6-b8e4-bcbad3d38b01', 'chat_anna', NULL, '2026-11-27 00:06:31.763636+00', '2026-11-27 00:06:31.763636+00'),
	('01a21a53-3bd6-751c-937b-8f3d42c55a44', 'chat_ben', NULL, '2026-11-27 00:06:32.150973+00', '2026-11-27 00:06:32.150973+00'),
	('01a21a53-3ea4-732f-b7f8-ad66c2b1be0f', 'user_uma', NULL, '2026-11-27 00:06:32.8773+00', '2026-11-27 00:06:32.936321+00'),
	('01a21a53-41ed-7089-8de5-871657815f77', 'chat_cut', NULL, '2026-11-27 00:06:33.71202+00', '2026-11-27 00:06:33.71202+00');
ALTER TABLE ONLY public.__diesel_schema_migrations
    ADD CONSTRAINT __diesel_schema_migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.budgets
    ADD CONSTRAINT budgets_pkey PRIMARY KEY (scope, day);
ALTER TABLE ONLY public.conversations
    ADD CONSTRAINT conversations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT evaluations_message_id_judge_key UNIQUE (message_id, judge);
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT evaluations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.experts
    ADD CONSTRAINT experts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.experts
    ADD CONSTRAINT experts_sub_key UNIQUE (sub);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_conversation_id_seq_key UNIQUE (conversation_id, seq);
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.reservations
    ADD CONSTRAINT reservations_pkey PRIMARY KEY (turn_id, scope);
ALTER TABLE ONLY public.session_locks
    ADD CONSTRAINT session_locks_pkey PRIMARY KEY (device_id);
ALTER TABLE ONLY public.settings
    ADD CONSTRAINT settings_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.turn_events
    ADD CONSTRAINT turn_events_pkey PRIMARY KEY (turn_id, attempt);
ALTER TABLE ONLY public.turn_pieces
    ADD CONSTRAINT turn_pieces_pkey PRIMARY KEY (turn_id, attempt, last_seq);
ALTER TABLE ONLY public.turns
    ADD CONSTRAINT turns_device_id_idempotency_key_key UNIQUE (device_id, idempotency_key);
ALTER TABLE ONLY public.turns
    ADD CONSTRAINT turns_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_phone_number_key UNIQUE (phone_number);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);
CREATE INDEX audit_log_by_conversation ON public.audit_log USING btree (conversation_id, id);
CREATE INDEX budgets_by_day ON public.budgets USING btree (day);
CREATE INDEX conversations_by_expert ON public.conversations USING btree (expert_id) WHERE (expert_id IS NOT NULL);
CREATE UNIQUE INDEX conversations_by_session_key ON public.conversations USING btree (user_id, session_key) WHERE (session_key IS NOT NULL);
CREATE INDEX conversations_by_user ON public.conversations USING btree (user_id, created_at DESC);
CREATE INDEX conversations_running ON public.conversations USING btree (lease_until) WHERE (running_turn IS NOT NULL);
CREATE INDEX conversations_waiting ON public.conversations USING btree (waiting_since) WHERE (waiting_since IS NOT NULL);
CREATE INDEX evaluations_by_conversation ON public.evaluations USING btree (conversation_id);
CREATE INDEX evaluations_by_status ON public.evaluations USING btree (status, id);
CREATE INDEX jobs_to_run ON public.jobs USING btree (kind, run_at) WHERE (NOT dead);
CREATE UNIQUE INDEX messages_by_answer ON public.messages USING btree (answers) WHERE (answers IS NOT NULL);
CREATE INDEX messages_by_turn ON public.messages USING btree (turn_id);
CREATE INDEX session_locks_by_conversation ON public.session_locks USING btree (conversation_id);
CREATE INDEX session_locks_by_expiry ON public.session_locks USING btree (expires_at);
CREATE INDEX turn_events_by_expiry ON public.turn_events USING btree (expires_at);
CREATE INDEX turn_pieces_by_age ON public.turn_pieces USING btree (written_at);
CREATE INDEX turns_by_conversation ON public.turns USING btree (conversation_id, fence DESC);
CREATE TRIGGER audit_log_is_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON public.audit_log FOR EACH STATEMENT EXECUTE FUNCTION public.audit_log_is_kept();
ALTER TABLE ONLY public.conversations
    ADD CONSTRAINT conversations_assigned_to_fkey FOREIGN KEY (assigned_to) REFERENCES public.experts(id) ON DELETE SET NULL;
ALTER TABLE ONLY public.conversations
    ADD CONSTRAINT conversations_expert_id_fkey FOREIGN KEY (expert_id) REFERENCES public.experts(id) ON DELETE SET NULL;
ALTER TABLE ONLY public.conversations
    ADD CONSTRAINT conversations_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT evaluations_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES public.conversations(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT evaluations_message_id_fkey FOREIGN KEY (message_id) REFERENCES public.messages(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES public.conversations(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_expert_id_fkey FOREIGN KEY (expert_id) REFERENCES public.experts(id) ON DELETE SET NULL;
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_turn_id_fkey FOREIGN KEY (turn_id) REFERENCES public.turns(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.reservations
    ADD CONSTRAINT reservations_turn_id_fkey FOREIGN KEY (turn_id) REFERENCES public.turns(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.session_locks
    ADD CONSTRAINT session_locks_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES public.conversations(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.turn_events
    ADD CONSTRAINT turn_events_turn_id_fkey FOREIGN KEY (turn_id) REFERENCES public.turns(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.turn_pieces
    ADD CONSTRAINT turn_pieces_turn_id_fkey FOREIGN KEY (turn_id) REFERENCES public.turns(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.turns
    ADD CONSTRAINT turns_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES public.conversations(id) ON DELETE CASCADE;
