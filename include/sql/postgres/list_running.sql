-- How many other sessions are at work, and how many were within the last second.
SELECT count(*) FILTER (WHERE state = 'active'),
       count(*) FILTER (WHERE state = 'active' OR state_change > clock_timestamp() - interval '1 second')
  FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid();
