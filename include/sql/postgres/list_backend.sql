-- The process that serves this session, and where the server keeps its data (NULL for an account that may not know).
SELECT pg_backend_pid() AS pid,
       CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') THEN current_setting('data_directory') END AS folder;
