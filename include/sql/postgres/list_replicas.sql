-- How far each standby is: the last place it replayed, the bytes it still has to, and the delay it reported itself. A slot
-- that nobody reads belongs to a standby whose replication has stopped.
SELECT COALESCE(NULLIF(application_name, ''), 'standby') || ' at ' || COALESCE(host(client_addr), 'this host') AS name,
       replay_lsn::text AS place,
       pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::float8 AS behind,
       extract(epoch FROM replay_lag)::float8 AS lag_s
  FROM pg_stat_replication
 WHERE replay_lsn IS NOT NULL
UNION ALL
SELECT 'slot ' || slot_name, NULL, NULL, NULL
  FROM pg_replication_slots
 WHERE slot_type = 'physical' AND NOT active AND NOT temporary AND restart_lsn IS NOT NULL;
