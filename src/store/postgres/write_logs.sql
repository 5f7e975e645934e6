-- Appends to the logs of running turns, under their fences. A turn that no longer owns its conversation is
-- missing in the result. To avoid deadlocks, the conversations are locked first, in the order of their ids.
-- The commit does not wait for the disk: a crash may lose the end of a log.
(
    turn_ids uuid[], conversation_ids uuid[], fences bigint[], attempts integer[], first_seqs bigint[],
    last_seqs bigint[], all_records bytea[]
)
returns table (written_turn uuid, is_to_stop boolean, is_read_elsewhere boolean)
language plpgsql
set lock_timeout = :log_lock_timeout
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
#variable_conflict use_column
begin
    perform set_config('synchronous_commit', 'off', true);
    return query
with input as materialized (
    select *
    from unnest(
        turn_ids, conversation_ids, fences, attempts, first_seqs, last_seqs, all_records
    ) as t (
        turn_id, conversation_id, fence, attempt, first_seq, last_seq, records
    )
),
mine as (
    select input.*, c.stop_requested, coalesce(c.watched_until > db_now(), false) as is_watched
    from input join conversations as c on c.id = conversation_id
    where :owns(c.running_turn, c.fence, turn_id, input.fence)
    order by c.id
    for no key update of c
),
written as (
    insert into turn_pieces (turn_id, attempt, first_seq, last_seq, records, written_at)
    select turn_id, attempt, first_seq, last_seq, records, db_now() from mine
    on conflict do nothing
),
hinted as (
    -- Only if another instance follows a turn: a notification takes a lock that all commits share.
    select pg_notify(:channel, string_agg(turn_id::text, ','))
    from (select turn_id from mine where is_watched limit 100) as watched
    having count(*) > 0
)
select turn_id, stop_requested, is_watched from mine, (select count(*) from hinted) as hints;
end
$function$
