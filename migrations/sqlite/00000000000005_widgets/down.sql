drop index messages_by_answer;
alter table messages drop column answers;
