-- How long this session waits for others. wait_timeout: it idles while it waits for a quiet moment. lc_messages: OPTIMIZE
-- tells in words, not by a number, what went wrong.
SET SESSION innodb_lock_wait_timeout = %s,
    SESSION lock_wait_timeout = %s,
    SESSION wait_timeout = 28800,
    SESSION lc_messages = 'en_US';
