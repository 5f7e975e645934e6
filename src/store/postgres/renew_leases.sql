-- Renews the leases of the turns that an instance still owns. To avoid deadlocks, conversations are locked
-- in the order of their ids, as everywhere.
(renewed_turns uuid[], own uuid, lease_ms bigint)
returns table (renewed_turn uuid, is_to_stop boolean)
language plpgsql
set lock_timeout = :lock_timeout
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $function$
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
$function$
