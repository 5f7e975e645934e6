-- A request that was answered together with a later one has a row for its idempotency key, which
-- names that one's turn. No foreign key: it would be searched for with every turn that is deleted, and
-- both go with their conversation.
alter table turns add column merged_into blob;
