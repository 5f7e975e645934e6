-- The audit is only ever added to, whoever tries.
create trigger audit_log_is_not_changed before update on audit_log
begin
    select raise(abort, 'the audit is only added to');
end;
create trigger audit_log_is_not_deleted before delete on audit_log
begin
    select raise(abort, 'the audit is only added to');
end;
