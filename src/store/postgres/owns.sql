-- The fence predicate of batches: whether a turn owns a conversation of this running turn and fence. The same as
-- `locks::owned`. PostgreSQL puts the expression into the statement that calls it.
(running_turn uuid, conversation_fence bigint, turn uuid, turn_fence bigint)
returns boolean
language sql
immutable
as $function$
    select running_turn = turn and conversation_fence = turn_fence
$function$
