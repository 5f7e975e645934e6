-- Begins turns, all or none that counts: what comes back says which of them would have to be begun
-- alone, and then the transaction is rolled back. At most one turn for each device. The same steps as
-- in queries/begin.rs, for many at once; rows are locked in the order of the devices.
with input as materialized (
    select *
    from unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[],
        $8::bigint[], $9::text[], $10::jsonb[], $11::jsonb[], $12::jsonb[], $13::text[], $14::bytea[]
    ) as t (
        turn_id, message_id, new_user, new_conversation, device_id, handle, agent,
        ttl, body, media_urls, audio_urls, metadata, idempotency_key, request_hash
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
            when held.window_began <= db_now_plus(-$15::bigint) then excluded.window_began
            else held.window_began end,
        window_count = case
            when held.window_began <= db_now_plus(-$15::bigint) then 1
            else held.window_count + 1 end
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
        new_conversation, person.id, body, '{}', 1, turn_id, $16::uuid, db_now_plus($17::bigint), 1,
        db_now(), db_now()
    from input join person on phone_number = handle
    returning *
),
continued as (
    update conversations as c set
        running_turn = turn_id,
        owner = $16,
        lease_until = db_now_plus($17),
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
join held on held.running_turn = input.turn_id
join begun on begun.id = input.turn_id
join said on said.turn_id = input.turn_id
left join person on person.phone_number = input.handle
where window_count <= $18::bigint
    and not exists (
        select from turns as known
        where known.device_id = input.device_id and known.idempotency_key = input.idempotency_key
    )
