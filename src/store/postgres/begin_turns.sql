-- Begins turns: those that can be begun. One that is missing in what comes back has to be begun alone:
-- its conversation is busy, its device has written too much, its key is known. The same steps as in
-- queries/begin.rs, for many at once; rows are locked in the order of the devices, of which none comes
-- twice.
(
    turn_ids uuid[], message_ids uuid[], new_users uuid[], new_conversations uuid[], device_ids text[],
    handles text[], agents text[], ttls bigint[], bodies text[], all_media_urls jsonb[],
    all_audio_urls jsonb[], all_metadata jsonb[], idempotency_keys text[], request_hashes bytea[],
    window_ms bigint, new_owner uuid, lease_ms bigint, most_messages bigint
)
returns table (
    turn_id uuid, active_agent text, conversation_id uuid, user_id uuid, user_name text, fence bigint,
    last_seq bigint, agent_path text, mode text, state jsonb, created_at timestamptz
)
language plpgsql
set lock_timeout = 200
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
#variable_conflict use_column
declare
    begun record;
begin
    for begun in
with input as materialized (
    select *
    from unnest(
        turn_ids, message_ids, new_users, new_conversations, device_ids, handles, agents, ttls, bodies,
        all_media_urls, all_audio_urls, all_metadata, idempotency_keys, request_hashes
    ) as t (
        turn_id, message_id, new_user, new_conversation, device_id, handle, agent,
        ttl, body, media_urls, audio_urls, metadata, idempotency_key, request_hash
    )
    where idempotency_key is null or not exists (
        select from turns as known
        where known.device_id = t.device_id and known.idempotency_key = t.idempotency_key
    )
    order by device_id
),
locked as (
    insert into session_locks as held (
        device_id, conversation_id, active_agent, locked_at, session_ttl, expires_at,
        window_began, window_count
    )
    select
        device_id, new_conversation, agent, db_now(), ttl, db_now_plus(ttl * 1000), db_now(), 1
    from input
    on conflict (device_id) do update set
        conversation_id = case
            when held.expires_at <= db_now() then excluded.conversation_id
            else held.conversation_id end,
        active_agent = case
            when held.expires_at <= db_now() or excluded.active_agent is not null
            then excluded.active_agent else held.active_agent end,
        locked_at = excluded.locked_at,
        session_ttl = case
            when held.expires_at <= db_now() or excluded.active_agent is not null
            then excluded.session_ttl else held.session_ttl end,
        expires_at = case
            when held.expires_at <= db_now() or excluded.active_agent is not null
            then excluded.expires_at else db_now_plus(held.session_ttl * 1000) end,
        window_began = case
            when held.window_began <= db_now_plus(-window_ms) then excluded.window_began
            else held.window_began end,
        window_count = case
            when held.window_began <= db_now_plus(-window_ms) then 1
            else held.window_count + 1 end
    where
        case when held.window_began <= db_now_plus(-window_ms) then 1 else held.window_count + 1 end
            <= most_messages
        and (
            held.expires_at <= db_now()
            or not exists (
                select from conversations as busy
                where busy.id = held.conversation_id and busy.running_turn is not null
            )
        )
    returning *
),
person as (
    insert into users (id, phone_number, created_at, last_seen_at)
    select new_user, handle, db_now(), db_now()
    from input join locked using (device_id)
    where conversation_id = new_conversation
    order by handle
    on conflict (phone_number) do update set last_seen_at = excluded.last_seen_at
    returning id, phone_number, name
),
opened as (
    insert into conversations (
        id, user_id, user_input, state, last_seq, running_turn, owner, lease_until, fence,
        created_at, updated_at
    )
    select
        new_conversation, person.id, body, '{}', 1, turn_id, new_owner, db_now_plus(lease_ms), 1,
        db_now(), db_now()
    from input join person on phone_number = handle
    returning *
),
continued as (
    update conversations as c set
        running_turn = turn_id,
        owner = new_owner,
        lease_until = db_now_plus(lease_ms),
        stop_requested = false,
        fence = c.fence + 1,
        last_seq = c.last_seq + 1,
        updated_at = db_now()
    from input join locked using (device_id)
    where c.id = conversation_id and conversation_id <> new_conversation and c.running_turn is null
    returning c.*
),
held as (
    select * from opened union all select * from continued
),
begun as (
    insert into turns (
        id, conversation_id, device_id, attempt, fence, idempotency_key, request_hash, started_at
    )
    select turn_id, held.id, device_id, 1, held.fence, idempotency_key, request_hash, db_now()
    from input join held on running_turn = turn_id
    on conflict (device_id, idempotency_key) do nothing
    returning id
),
said as (
    insert into messages (
        id, conversation_id, turn_id, seq, role, direction, message_type, body,
        media_urls, audio_urls, metadata, created_at
    )
    select
        message_id, held.id, turn_id, held.last_seq, 'user', 'incoming', 'user_input', body,
        media_urls, audio_urls, metadata, db_now()
    from input join held on running_turn = turn_id
    returning turn_id, created_at
)
select
    input.turn_id,
    locked.active_agent,
    held.id as conversation_id,
    held.user_id,
    person.name as user_name,
    held.fence,
    held.last_seq,
    held.agent_path,
    held.mode,
    held.state,
    said.created_at
from input
join locked using (device_id)
left join held on held.running_turn = input.turn_id
left join begun on begun.id = input.turn_id
left join said on said.turn_id = begun.id
left join person on person.phone_number = input.handle
    loop
        if begun.created_at is null then
            raise exception 'another turn began meanwhile' using errcode = 'serialization_failure';
        end if;
        turn_id := begun.turn_id;
        active_agent := begun.active_agent;
        conversation_id := begun.conversation_id;
        user_id := begun.user_id;
        user_name := begun.user_name;
        fence := begun.fence;
        last_seq := begun.last_seq;
        agent_path := begun.agent_path;
        mode := begun.mode;
        state := begun.state;
        created_at := begun.created_at;
        return next;
    end loop;
end
$function$
