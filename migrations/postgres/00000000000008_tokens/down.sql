drop table reservations;
drop table budgets;
alter table turns drop column output_tokens;
alter table turns drop column input_tokens;
