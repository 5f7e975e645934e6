alter table turns drop column merged_into;
