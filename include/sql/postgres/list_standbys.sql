-- On a primary: each standby's replay lag in seconds; NULL where it has nothing left to replay. A slot that nobody reads
-- belongs to a standby whose replication has stopped. An account without pg_read_all_stats sees that there are standbys,
-- and nothing of them.
SELECT application_name || '@' || COALESCE(host(client_addr), 'local') AS standby,
       EXTRACT(epoch FROM replay_lag)::float8 AS lag_s,
       false AS stopped,
       state IS NULL AS hidden
  FROM pg_stat_replication
UNION ALL
SELECT 'slot ' || slot_name, NULL, true, false
  FROM pg_replication_slots
 WHERE slot_type = 'physical' AND NOT active AND NOT temporary AND restart_lsn IS NOT NULL;
