-- Client sessions against the limit, sessions that wait for a lock, and the oldest open transaction in seconds. Of other
-- accounts' sessions one without pg_read_all_stats sees that they are there, and nothing else: so many are hidden.
SELECT current_setting('max_connections')::int AS max_connections,
       count(*) FILTER (WHERE backend_type = 'client backend' OR backend_type IS NULL AND usesysid IS NOT NULL)
         AS connections,
       count(*) FILTER (WHERE backend_type IS NULL AND usesysid IS NOT NULL) AS hidden,
       count(*) FILTER (WHERE wait_event_type = 'Lock') AS blocked,
       COALESCE(max(EXTRACT(epoch FROM now() - xact_start)) FILTER (WHERE backend_type = 'client backend'), 0)::float8
         AS oldest_transaction_s
  FROM pg_stat_activity
 WHERE pid <> pg_backend_pid();
