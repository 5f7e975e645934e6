drop table kept_windows;
