-- The fence predicate of batches: whether the turn owns the conversation with this running turn and fence. Same as
-- `fence::owned`. PostgreSQL inlines the expression into the calling statement.
(running_turn uuid, conversation_fence bigint, turn uuid, turn_fence bigint)
returns boolean
language sql
immutable
as $function$
    select running_turn = turn and conversation_fence = turn_fence
$function$
