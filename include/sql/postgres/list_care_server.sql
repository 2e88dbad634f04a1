-- What table care has to know of the server. data_directory is NULL for an account that may not see it; the pid tells
-- whether the server runs on this machine; pgstattuple: the schema of the extension, where it is installed.
SELECT current_setting('server_version_num')::int AS version_num,
       current_setting('autovacuum_freeze_max_age')::int8 AS freeze_max,
       current_setting('autovacuum_multixact_freeze_max_age')::int8 AS mxid_freeze_max,
       (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS data_directory,
       pg_backend_pid() AS pid,
       (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
         WHERE e.extname = 'pgstattuple') AS pgstattuple,
       (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()) AS database_age;
