-- Before each statement of a migration, which may have set them itself: how long it waits for others, in seconds.
SET SESSION lock_wait_timeout = %s, SESSION innodb_lock_wait_timeout = %s;
