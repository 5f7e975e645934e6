-- The audit is only ever added to, whoever tries.
create function audit_log_is_kept() returns trigger language plpgsql as $$
begin
    raise exception 'the audit is only added to';
end $$;
create trigger audit_log_is_kept before update or delete or truncate on audit_log
    for each statement execute function audit_log_is_kept();
