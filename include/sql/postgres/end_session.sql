-- Ends a session, as list_own_session knew it; a row as long as it is there.
SELECT pid AS id, pg_terminate_backend(pid) AS told FROM pg_stat_activity WHERE pid = %s AND backend_start = %s;
