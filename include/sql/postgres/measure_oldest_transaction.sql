-- Seconds since the oldest other transaction in this database began, prepared ones included: until it ends no VACUUM
-- removes what it may still see, and REINDEX CONCURRENTLY waits for it.
SELECT COALESCE(max(extract(epoch FROM clock_timestamp() - began)), 0)::float8 AS oldest_s
  FROM (SELECT xact_start FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
        UNION ALL
        SELECT prepared FROM pg_prepared_xacts WHERE database = current_database()) AS open (began);
