-- Client sessions against the limit, sessions that wait for a lock, and the oldest open transaction in seconds.
SELECT current_setting('max_connections')::int AS max_connections,
       count(*) FILTER (WHERE backend_type = 'client backend') AS connections,
       count(*) FILTER (WHERE wait_event_type = 'Lock') AS blocked,
       COALESCE(max(EXTRACT(epoch FROM now() - xact_start)) FILTER (WHERE backend_type = 'client backend'), 0)::float8
         AS oldest_transaction_s
  FROM pg_stat_activity
 WHERE pid <> pg_backend_pid();
