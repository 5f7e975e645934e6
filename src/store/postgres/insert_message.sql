-- Stores a message of a turn. Same as `messages::insert`, for batches.
(
    id uuid, conversation_id uuid, turn_id uuid, seq bigint, role text, direction text, message_type text,
    body text, media_urls jsonb, audio_urls jsonb, finish_reason text, metadata jsonb, created_at timestamptz
)
returns void
language plpgsql
as $function$
begin
    insert into messages (
        id, conversation_id, turn_id, seq, role, direction, message_type, body,
        media_urls, audio_urls, finish_reason, metadata, created_at
    )
    values (
        id, conversation_id, turn_id, seq, role, direction, message_type, body,
        media_urls, audio_urls, finish_reason, metadata, created_at
    );
end
$function$
