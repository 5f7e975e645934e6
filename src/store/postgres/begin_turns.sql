-- Begins turns one after the other, with the same steps as queries/begin.rs. A turn that is missing in the
-- result must be begun alone: its conversation is busy, its device has reached the rate limit or has a kept
-- count of a deleted session lock, or its key is known. The input must be sorted by device, each device at
-- most once, so that two batches never deadlock.
(
    turn_ids uuid[], message_ids uuid[], new_users uuid[], new_conversations uuid[], device_ids text[],
    handles text[], agents text[], ttls bigint[], bodies text[], all_media_urls jsonb[],
    all_audio_urls jsonb[], all_metadata jsonb[], idempotency_keys text[], request_hashes bytea[],
    limit_keys text[], window_ms bigint, new_owner uuid, lease_ms bigint, most_messages bigint
)
returns table (
    turn_id uuid, active_agent text, conversation_id uuid, user_id uuid, user_name text, fence bigint,
    last_seq bigint, agent_path text, mode text, state jsonb, context jsonb, created_at timestamptz
)
language plpgsql
set lock_timeout = :batch_lock_timeout
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $function$
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

        if exists (
            select from kept_windows as kept
            where kept.limit_key = limit_keys[n] and kept.window_began > last_window
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
        -- The device's previous lock was deleted while this insert waited for it; its count must not be lost.
        if lock.window_count = 1 and exists (
            select from kept_windows as kept
            where kept.limit_key = limit_keys[n] and kept.window_began > last_window
        ) then
            raise exception 'what was written is still counted' using errcode = 'serialization_failure';
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

        perform :insert_message(
            message_ids[n], held.id, turn_ids[n], held.last_seq, 'user', 'incoming', 'user_input',
            bodies[n], all_media_urls[n], all_audio_urls[n], null, all_metadata[n], now
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
$function$
