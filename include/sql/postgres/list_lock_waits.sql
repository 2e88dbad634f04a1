-- Who waits for whom.
SELECT a.pid AS waiting,
       b.pid AS blocking,
       COALESCE((SELECT string_agg(DISTINCT l.relation::regclass::text, ', ') FROM pg_locks l
                  WHERE l.pid = a.pid AND (NOT l.granted OR l.mode IN ('RowExclusiveLock', 'RowShareLock'))
                    AND l.relation IN (SELECT c.oid FROM pg_class c WHERE c.relkind IN ('r', 'p'))), '') AS table_name,
       EXTRACT(EPOCH FROM now() - a.query_start)::float8 AS waited_s,
       EXTRACT(EPOCH FROM now() - b.xact_start)::float8 AS open_s,
       a.query AS query
  FROM pg_stat_activity a
  CROSS JOIN LATERAL unnest(pg_blocking_pids(a.pid)) AS blocker (pid)
  JOIN pg_stat_activity b ON b.pid = blocker.pid
 WHERE a.datname = current_database();
