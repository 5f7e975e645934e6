-- `of` lists the conversations to create: device, number, time of the beginning, number of messages.
update of set n = (select count(*) from of) - n where n < 0;
insert into users (id, phone_number, created_at, last_seen_at)
select seeded(1, (extract(epoch from begun) * 1000)::bigint, n), 'chat_' || device, begun, begun
from of order by begun;
insert into conversations (id, user_id, user_input, state, last_seq, fence, created_at, updated_at, agent_path)
select
    seeded(2, (extract(epoch from begun) * 1000)::bigint, n),
    seeded(1, (extract(epoch from begun) * 1000)::bigint, n),
    'Hello', '{}', said, said / 2, begun, begun, 'a'
from of order by begun;
insert into session_locks (
    device_id, conversation_id, active_agent, locked_at, session_ttl, expires_at, window_began, window_count
)
select
    device, seeded(2, (extract(epoch from begun) * 1000)::bigint, n), 'a', begun, 86400 * 2000,
    begun + interval '2000 days', begun, 1
from of order by begun;
insert into turns (
    id, conversation_id, device_id, attempt, fence, finish_reason, started_at, finished_at
)
select
    seeded(3, (extract(epoch from begun) * 1000)::bigint + seq, n),
    seeded(2, (extract(epoch from begun) * 1000)::bigint, n),
    device, 1, seq, 'stop', begun, begun
from of, generate_series(1, said / 2) as seq order by begun, seq;
insert into messages (
    id, conversation_id, turn_id, seq, role, direction, message_type, body, media_urls, audio_urls,
    finish_reason, created_at
)
select
    seeded(4, (extract(epoch from begun) * 1000)::bigint + seq, n),
    seeded(2, (extract(epoch from begun) * 1000)::bigint, n),
    seeded(3, (extract(epoch from begun) * 1000)::bigint + (seq + 1) / 2, n),
    seq,
    case when seq % 2 = 1 then 'user' else 'assistant' end,
    case when seq % 2 = 1 then 'incoming' else 'outgoing' end,
    case when seq % 2 = 1 then 'user_input' else 'assistant_response' end,
    'When do you open tomorrow? And is there a place to park? ' || seq, '[]', '[]',
    case when seq % 2 = 0 then 'stop' end,
    begun
from of, generate_series(1, said) as seq order by begun, seq;
drop table of;
drop function seeded;
