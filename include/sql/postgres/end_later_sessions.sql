-- Ends the sessions of this account from this machine in this database that were begun after that moment, a program's
-- own; a row for each that is there.
SELECT pid AS id, pg_terminate_backend(pid) AS told
  FROM pg_stat_activity
 WHERE backend_start > %s
   AND usename = session_user
   AND client_addr IS NOT DISTINCT FROM inet_client_addr()
   AND datname = current_database()
   AND pid <> pg_backend_pid();
