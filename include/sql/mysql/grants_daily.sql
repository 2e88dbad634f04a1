-- The day on MySQL 8 and 9. Behind each statement: the duties that need it. One that names {table} is run for each table
-- with a purge rule.
GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON {database}.* TO {account};  -- back_up, purge_rows, sample_capacity: sizes
GRANT RELOAD, PROCESS, SHOW_ROUTINE ON *.* TO {account};  -- back_up, check_health: transactions and waits; purge_rows: keys of other databases
GRANT REPLICATION CLIENT ON *.* TO {account};  -- back_up, check_health: position and lag
GRANT REPLICATION SLAVE ON *.* TO {account};  -- purge_rows: which replicas there are
GRANT DELETE ON {database}.{table} TO {account};  -- purge_rows
GRANT SELECT ON mysql.user TO {account};  -- check_security
GRANT SELECT ON mysql.* TO {account};  -- back_up: accounts and rights, password hashes among them; check_security: roles; left out without it
