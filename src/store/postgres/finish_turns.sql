-- Finishes turns under their fences: those that still are their owner's. The others are missing in what
-- comes back, and nothing is written of them. The same steps as in queries/turns.rs, for many at once.
(
    turn_ids uuid[], conversation_ids uuid[], user_ids uuid[], device_ids text[], fences bigint[],
    finish_reasons text[], error_codes text[], message_ids uuid[], bodies text[], agents text[],
    ttls bigint[], states jsonb[], user_names text[], all_frames bytea[], last_seqs bigint[],
    logs_kept bigint[], attempts integer[]
)
returns table (finished_turn uuid)
language plpgsql
set lock_timeout = 200
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
#variable_conflict use_column
declare
    finished record;
begin
    for finished in
with input as (
    select *
    from unnest(
        turn_ids, conversation_ids, user_ids, device_ids, fences, finish_reasons, error_codes,
        message_ids, bodies, agents, ttls, states, user_names, all_frames, last_seqs, logs_kept, attempts
    ) as t (
        turn_id, conversation_id, user_id, device_id, fence, finish_reason, error_code,
        message_id, body, agent, ttl, state, user_name, frames,
        last_seq, log_kept, attempt
    )
),
mine as materialized (
    select input.*
    from input join conversations as c on c.id = input.conversation_id
    where c.fence = input.fence and c.running_turn = input.turn_id
    order by device_id
),
handed as (
    update session_locks as l set
        active_agent = agent,
        locked_at = db_now(),
        session_ttl = ttl,
        expires_at = db_now_plus(ttl * 1000)
    from mine
    where l.device_id = mine.device_id and l.conversation_id = mine.conversation_id
        and agent is not null
    returning mine.turn_id
),
named as (
    update users as u set name = user_name
    from mine
    where u.id = mine.user_id and user_name is not null
    returning mine.turn_id
),
held as (
    -- In one order, as the log's. The joins: session locks and users are locked before conversations,
    -- as everywhere.
    select c.id
    from mine join conversations as c on c.id = mine.conversation_id
        left join handed using (turn_id) left join named using (turn_id)
    order by c.id
    for no key update of c
),
released as (
    update conversations as c set
        running_turn = null,
        owner = null,
        lease_until = null,
        updated_at = db_now(),
        last_seq = c.last_seq + (message_id is not null)::int,
        agent_path = coalesce(agent, c.agent_path),
        state = coalesce(mine.state, c.state)
    from mine join held on held.id = mine.conversation_id
    where c.id = mine.conversation_id and c.fence = mine.fence and c.running_turn = mine.turn_id
    returning mine.turn_id, c.last_seq, c.watched_until > db_now() as is_watched
),
answered as (
    insert into messages (
        id, conversation_id, turn_id, seq, role, direction, message_type, body,
        media_urls, audio_urls, finish_reason, created_at
    )
    select
        message_id, conversation_id, turn_id, released.last_seq, 'assistant', 'outgoing',
        'assistant_response', body, '[]', '[]', finish_reason, db_now()
    from mine join released using (turn_id)
    where message_id is not null
),
ended as (
    update turns as t set
        finish_reason = mine.finish_reason,
        error_code = mine.error_code,
        finished_at = db_now()
    from mine join released using (turn_id)
    where t.id = turn_id
),
kept as (
    insert into turn_events (turn_id, attempt, last_seq, frames, expires_at)
    select turn_id, attempt, mine.last_seq, frames, db_now_plus(log_kept)
    from mine join released using (turn_id)
),
collapsed as (
    delete from turn_pieces as p
    using mine join released using (turn_id)
    where p.turn_id = mine.turn_id and p.attempt = mine.attempt
),
hinted as (
    select pg_notify('frontdesk', string_agg(turn_id::text, ','))
    from released where is_watched
    having count(*) > 0
)
select mine.turn_id, released.turn_id is not null as is_released, (select count(*) from hinted)
from mine left join released using (turn_id)
    loop
        if not finished.is_released then
            raise exception 'a turn was taken meanwhile' using errcode = 'serialization_failure';
        end if;
        finished_turn := finished.turn_id;
        return next;
    end loop;
end
$function$
