-- What tells this session from every other one: the system gives the number of one that ended to another.
SELECT pid AS id, backend_start AS begun FROM pg_stat_activity WHERE pid = pg_backend_pid();
