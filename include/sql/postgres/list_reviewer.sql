-- This session's process on the server's machine, and whether it sees what other accounts do.
SELECT pg_backend_pid() AS pid,
       pg_has_role('pg_read_all_stats', 'MEMBER') OR current_setting('is_superuser') = 'on' AS sees_all;
