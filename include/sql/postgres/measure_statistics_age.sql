-- Seconds for which uses have been counted: since somebody reset them, or at least since the server started.
SELECT EXTRACT(EPOCH FROM now() - COALESCE(stats_reset, pg_postmaster_start_time()))::float8 AS seconds
  FROM pg_stat_database
 WHERE datname = current_database();
