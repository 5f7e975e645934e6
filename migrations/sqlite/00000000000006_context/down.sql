alter table conversations drop column context;
