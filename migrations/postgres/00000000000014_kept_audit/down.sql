drop trigger audit_log_is_kept on audit_log;
drop function audit_log_is_kept();
