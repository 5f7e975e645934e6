-- Nothing: from the next migration on, both databases have the same numbers.
select 1;
