-- Finishes turns under their fences. What comes back are those that could be; where one is missing,
-- the transaction is rolled back. The same steps as in queries/turns.rs, for many at once.
with input as materialized (
    select *
    from unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::text[], $7::text[],
        $8::uuid[], $9::text[], $10::text[], $11::bigint[], $12::jsonb[], $13::text[], $14::bytea[],
        $15::bigint[], $16::bigint[], $17::integer[]
    ) as t (
        turn_id, conversation_id, user_id, device_id, fence, finish_reason, error_code,
        message_id, body, agent, ttl, state, user_name, frames,
        last_seq, log_kept, attempt
    )
    order by device_id
),
handed as (
    update session_locks as l set
        active_agent = agent,
        locked_at = db_now(),
        session_ttl = ttl,
        expires_at = db_now_plus(ttl * 1000)
    from input
    where l.device_id = input.device_id and l.conversation_id = input.conversation_id
        and agent is not null
    returning turn_id
),
named as (
    update users as u set name = user_name
    from input
    where u.id = input.user_id and user_name is not null
    returning turn_id
),
held as (
    -- In one order, as the log's. The joins: session locks and users are locked before conversations,
    -- as everywhere.
    select c.id
    from input join conversations as c on c.id = input.conversation_id
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
        state = coalesce(input.state, c.state)
    from input join held on held.id = input.conversation_id
    where c.id = input.conversation_id and c.fence = input.fence and c.running_turn = input.turn_id
    returning input.turn_id, c.last_seq, c.watched_until > db_now() as is_watched
),
answered as (
    insert into messages (
        id, conversation_id, turn_id, seq, role, direction, message_type, body,
        media_urls, audio_urls, finish_reason, created_at
    )
    select
        message_id, conversation_id, turn_id, released.last_seq, 'assistant', 'outgoing',
        'assistant_response', body, '[]', '[]', finish_reason, db_now()
    from input join released using (turn_id)
    where message_id is not null
),
ended as (
    update turns as t set
        finish_reason = input.finish_reason,
        error_code = input.error_code,
        finished_at = db_now()
    from input join released using (turn_id)
    where t.id = turn_id
),
kept as (
    insert into turn_events (turn_id, attempt, last_seq, frames, expires_at)
    select turn_id, attempt, input.last_seq, frames, db_now_plus(log_kept)
    from input join released using (turn_id)
),
collapsed as (
    delete from turn_pieces as p
    using input join released using (turn_id)
    where p.turn_id = input.turn_id and p.attempt = input.attempt
),
hinted as (
    select pg_notify('frontdesk', string_agg(turn_id::text, ','))
    from released where is_watched
    having count(*) > 0
)
select turn_id, (select count(*) from hinted) from released
