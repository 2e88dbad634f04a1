-- Restores on PostgreSQL, for a role of its own (restore_conn_id). The copy's objects are given to the {owner} of the
-- originals, so the role becomes a member of each. Without a superuser, extensions have to be trusted ones, all roles have to
-- be there still, and rights on the server's own functions aren't restored.
ALTER ROLE {account} CREATEDB;  -- restore: also to rename databases
GRANT {owner} TO {account};  -- restore
GRANT pg_signal_backend TO {account};  -- restore: ends sessions, for a database that has some can't be renamed
GRANT pg_read_all_settings TO {account};  -- restore: where the data lies, and so how much disk is free
