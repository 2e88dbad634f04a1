-- The week on MariaDB, on top of the day. One that names {table} is run for each table that is tended.
GRANT INSERT ON {database}.{table} TO {account};  -- tend_tables: OPTIMIZE and ANALYZE ask for it and write no row
GRANT ALTER, CREATE, DROP, INSERT ON {database}.{table} TO {account};  -- tend_partitions
GRANT SELECT ON mysql.innodb_table_stats TO {account};  -- tend_tables: how old statistics are
GRANT SELECT ON mysql.innodb_index_stats TO {account};  -- tend_tables: how large indexes are
GRANT SELECT ON performance_schema.* TO {account};  -- review_databases, tend_tables: use of indexes, statements, locks
