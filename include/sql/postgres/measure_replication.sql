-- On a standby: whether it streams, and how old its newest replayed transaction is. A standby that has replayed all it
-- received is not behind, however long the primary has been idle.
SELECT pg_is_in_recovery() AS is_standby,
       (SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming') > 0 AS streaming,
       CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
            ELSE EXTRACT(epoch FROM now() - pg_last_xact_replay_timestamp())::float8 END AS lag_s;
