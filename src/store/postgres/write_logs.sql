-- Appends what running turns have said, under their fences: a turn that has another's fence by now
-- is missing in what comes back. The conversations' rows are locked first, in one order.
with input as materialized (
    select *
    from unnest(
        $1::uuid[], $2::uuid[], $3::bigint[], $4::integer[], $5::bigint[], $6::bigint[], $7::bytea[]
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
select turn_id, stop_requested, is_watched, (select count(*) from hinted) from mine
