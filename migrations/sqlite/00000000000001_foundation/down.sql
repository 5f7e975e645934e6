drop table turn_events;
drop table messages;
drop table turns;
drop table session_locks;
drop table conversations;
drop table users;
drop table settings;
