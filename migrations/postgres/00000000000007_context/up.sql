-- What is known of the visitor and not for the model: made when the session starts, changed by tools.
alter table conversations add column context jsonb;
