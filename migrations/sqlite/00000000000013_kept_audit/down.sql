drop trigger audit_log_is_not_changed;
drop trigger audit_log_is_not_deleted;
