-- The month on MySQL and MariaDB. The day's grants hold all of it: nothing is to be added for the same account.
GRANT SELECT ON {database}.* TO {account};  -- benchmark, drill: whether anything was written after the backup
GRANT SHOW VIEW ON {database}.* TO {account};  -- benchmark: the plan of a query that reads a view
