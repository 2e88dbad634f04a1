-- The process that serves this session, and where the server keeps its data (NULL for an account that may not know).
SELECT pg_backend_pid() AS pid, current_setting('data_directory', true) AS folder;
