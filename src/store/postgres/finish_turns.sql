-- Finishes turns under their fences one after the other, with the same steps as queries/turns.rs. A turn that
-- no longer owns its conversation is missing in the result, and nothing is written for it. The input must be
-- sorted by conversation, so that batches and log writes never deadlock.
(
    turn_ids uuid[], conversation_ids uuid[], user_ids uuid[], device_ids text[], fences bigint[],
    finish_reasons text[], error_codes text[], message_ids uuid[], bodies text[], new_agents text[],
    ttls bigint[], new_states jsonb[], new_contexts jsonb[], user_names text[], all_records bytea[], last_seqs bigint[],
    logs_kept bigint[], attempts integer[], all_input_tokens bigint[], all_output_tokens bigint[],
    job_ids uuid[], judgings jsonb[]
)
returns table (finished_turn uuid)
language plpgsql
set lock_timeout = :batch_lock_timeout
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $function$
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
        where c.id = conversation_ids[n] and :owns(c.running_turn, c.fence, turn_ids[n], fences[n])
        returning c.last_seq, c.watched_until > now as is_watched into released;
        if not found then
            continue;
        end if;

        if message_ids[n] is not null then
            perform :insert_message(
                message_ids[n], conversation_ids[n], turn_ids[n], released.last_seq, 'assistant',
                'outgoing', 'assistant_response', bodies[n], '[]', '[]', finish_reasons[n], null, now
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

        insert into turn_events (turn_id, attempt, last_seq, records, expires_at)
        values (turn_ids[n], attempts[n], last_seqs[n], all_records[n], db_now_plus(logs_kept[n]));
        delete from turn_pieces where turn_id = turn_ids[n] and attempt = attempts[n];

        if released.is_watched then
            watched := watched || turn_ids[n];
        end if;
        finished_turn := turn_ids[n];
        return next;
    end loop;

    -- Only if another instance follows a turn: a notification takes a lock that all commits share.
    if watched is not null then
        perform pg_notify(:channel, array_to_string(watched, ','));
    end if;
end
$function$
