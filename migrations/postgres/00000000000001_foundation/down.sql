drop table turn_events, messages, turns, session_locks, conversations, users, settings;
drop function db_now_plus(bigint);
drop function db_now();
