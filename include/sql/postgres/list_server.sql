-- Which server this is and where its log stands; on a standby, where replay stands. impatient: whether the database or the
-- account sets timeouts that would end a dump.
SELECT current_setting('server_version')          AS version,
       current_setting('server_version_num')::int AS version_num,
       current_setting('server_encoding')         AS encoding,
       COALESCE((SELECT system_identifier::text FROM pg_control_system()), '') AS identity,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)::text AS lsn,
       (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline,
       (SELECT count(*) FROM pg_largeobject_metadata) AS large_objects,
       has_table_privilege('pg_catalog.pg_authid', 'SELECT') AS may_read_passwords,
       EXISTS (SELECT FROM pg_settings
                WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout') AND reset_val <> '0')
                                                  AS impatient;
