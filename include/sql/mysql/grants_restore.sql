-- Restores on MySQL 8.4 and 9, for an account of its own (restore_conn_id): it makes databases, renames tables between them,
-- and makes views, triggers, routines and events in the name of those they belong to. Before 8.4, SET_USER_ID stands for the
-- two privileges about definers.
GRANT SELECT, INSERT, CREATE, DROP, ALTER, REFERENCES, LOCK TABLES ON *.* TO {account};  -- restore
GRANT CREATE VIEW, SHOW VIEW, TRIGGER, CREATE ROUTINE, ALTER ROUTINE, EXECUTE, EVENT ON *.* TO {account};  -- restore
GRANT SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER, SYSTEM_USER ON *.* TO {account};  -- restore: definers, root among them
GRANT SUPER, PROCESS ON *.* TO {account};  -- restore: triggers beside a binary log, stop_writes, who could still write
