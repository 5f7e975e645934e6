alter table conversations drop column expert_types_until;
alter table conversations drop column visitor_types_until;
