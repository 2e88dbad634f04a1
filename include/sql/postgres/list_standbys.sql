-- On a primary: each standby's replay lag in seconds; NULL where it has nothing left to replay.
SELECT application_name || '@' || COALESCE(client_addr::text, 'local') AS standby,
       EXTRACT(epoch FROM replay_lag)::float8 AS lag_s
  FROM pg_stat_replication;
