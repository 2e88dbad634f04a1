-- The day on PostgreSQL, run in the database. Behind each statement: the duties that need it. One that names {table} is
-- run for each table with a purge rule.
GRANT pg_read_all_data TO {account};  -- back_up, check_security: passwords kept as MD5
GRANT pg_monitor TO {account};  -- check_health, sample_capacity, purge_rows
GRANT DELETE, UPDATE ON {table} TO {account};  -- purge_rows: UPDATE only to lock what it deletes
GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO {account};  -- check_security: pg_hba.conf
