-- A new device's turn: the transaction that begins it, and the one that finishes it.
\set device random(1, 281474976710655)
begin;
insert into users (id, phone_number, created_at, last_seen_at)
values (gen_random_uuid(), 'chat_' || :device, now(), now())
on conflict (phone_number) do update set last_seen_at = excluded.last_seen_at
returning id as user_id \gset
insert into conversations (
    id, user_id, user_input, state, last_seq, running_turn, owner, lease_until, fence, created_at, updated_at
)
values (
    md5('c' || :device)::uuid, :user_id::uuid, 'short', '{}', 1,
    md5('t' || :device)::uuid, gen_random_uuid(), now() + interval '15 s', 1, now(), now()
);
insert into session_locks (
    device_id, conversation_id, active_agent, locked_at, session_ttl, expires_at, window_began, window_count
)
values (
    :device::text, md5('c' || :device)::uuid, null, now(), 1800, now() + interval '1800 s', now(), 1
)
on conflict (device_id) do update set locked_at = excluded.locked_at;
insert into turns (id, conversation_id, device_id, attempt, fence, started_at)
values (md5('t' || :device)::uuid, md5('c' || :device)::uuid, :device::text, 1, 1, now());
insert into messages (
    id, conversation_id, turn_id, seq, role, direction, message_type, body, media_urls, audio_urls, created_at
)
values (
    gen_random_uuid(), md5('c' || :device)::uuid, md5('t' || :device)::uuid, 1, 'user', 'incoming', 'user_input',
    'short', '[]', '[]', now()
);
commit;
begin;
update session_locks set
    active_agent = 'a', locked_at = now(), session_ttl = 1800, expires_at = now() + interval '1800 s'
where device_id = :device::text;
update conversations set
    running_turn = null, owner = null, lease_until = null, updated_at = now(), last_seq = last_seq + 1,
    agent_path = 'a'
where id = md5('c' || :device)::uuid and fence = 1 and running_turn = md5('t' || :device)::uuid;
insert into messages (
    id, conversation_id, turn_id, seq, role, direction, message_type, body, media_urls, audio_urls,
    finish_reason, created_at
)
values (
    gen_random_uuid(), md5('c' || :device)::uuid, md5('t' || :device)::uuid, 2, 'assistant', 'outgoing',
    'assistant_response', '0:1763648659941641000 ', '[]', '[]', 'stop', now()
);
update turns set finish_reason = 'stop', finished_at = now() where id = md5('t' || :device)::uuid;
insert into turn_events (turn_id, attempt, last_seq, records, expires_at)
values (md5('t' || :device)::uuid, 1, 2, decode(repeat('64617461', 90), 'hex'), now() + interval '1 hour');
delete from turn_pieces where turn_id = md5('t' || :device)::uuid and attempt = 1;
commit;
