-- What a purge has to know of the server, and the time zone in which its sessions speak before this one changes it.
SELECT current_setting('server_version') AS version,
       pg_is_in_recovery() AS in_recovery,
       current_setting('transaction_read_only') = 'on' AS read_only,
       current_setting('TimeZone') AS time_zone,
       pg_has_role('pg_read_all_stats', 'MEMBER') OR current_setting('is_superuser') = 'on' AS sees_all;
