-- Ends every other session in the named databases: a database with sessions can't be renamed, and a setting of its own
-- only counts for new ones. Autovacuum has no user: it gives way to a renaming by itself, and only a superuser may end it.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY (%s) AND pid <> pg_backend_pid()
   AND usesysid IS NOT NULL;
