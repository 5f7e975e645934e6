drop index jobs_to_run;
create index jobs_to_run on jobs (run_at) where not dead;
alter table messages drop column retracted;
drop table evaluations;
