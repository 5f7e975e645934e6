alter table conversations drop column watched_until;
