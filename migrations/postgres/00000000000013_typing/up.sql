-- Until when somebody is taken to be writing: whoever goes on says so again.
alter table conversations add column visitor_types_until timestamptz;
alter table conversations add column expert_types_until timestamptz;
