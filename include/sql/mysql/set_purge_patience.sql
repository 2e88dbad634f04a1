-- How long this session waits for others, and what it takes for granted. wait_timeout: it idles while an archive is
-- uploaded or while the server is busy, and holds nothing meanwhile. group_concat_max_len: see list_old_numbers.
SET SESSION innodb_lock_wait_timeout = %s,
    SESSION lock_wait_timeout = %s,
    SESSION wait_timeout = 28800,
    SESSION net_write_timeout = 600,
    SESSION group_concat_max_len = 4194304,
    SESSION foreign_key_checks = 1,
    SESSION time_zone = '+00:00';
