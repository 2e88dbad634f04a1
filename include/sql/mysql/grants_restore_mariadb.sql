-- Restores on MariaDB, for an account of its own (restore_conn_id): it makes databases, renames tables between them, and
-- makes views, triggers, routines and events in the name of those they belong to.
GRANT SELECT, INSERT, CREATE, DROP, ALTER, REFERENCES, LOCK TABLES ON *.* TO {account};  -- restore
GRANT CREATE VIEW, SHOW VIEW, TRIGGER, CREATE ROUTINE, ALTER ROUTINE, EXECUTE, EVENT ON *.* TO {account};  -- restore
GRANT SET USER ON *.* TO {account};  -- restore: definers
GRANT SUPER, PROCESS, READ_ONLY ADMIN, CONNECTION ADMIN ON *.* TO {account};  -- restore: stop_writes, who could still write
