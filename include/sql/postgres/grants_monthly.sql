-- The month on PostgreSQL. The day's grants hold all of it: nothing is to be added for the same account.
GRANT pg_read_all_data TO {account};  -- benchmark, drill: whether anything was written after the backup
