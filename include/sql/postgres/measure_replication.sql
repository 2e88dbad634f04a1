-- On a standby: whether it streams, and how old its newest replayed transaction is. A standby that has replayed all it
-- received is not behind, however long the primary has been idle. NULL: this account may not see whether it streams.
SELECT pg_is_in_recovery() AS is_standby,
       (SELECT CASE WHEN count(*) = count(status) THEN count(*) FILTER (WHERE status = 'streaming') > 0 END
          FROM pg_stat_wal_receiver) AS streaming,
       CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
            ELSE EXTRACT(epoch FROM now() - pg_last_xact_replay_timestamp())::float8 END AS lag_s;
