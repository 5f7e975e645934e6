alter table turn_events alter column frames set compression default;
