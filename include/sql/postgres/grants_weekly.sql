-- The week on PostgreSQL, on top of the day. VACUUM, REINDEX and partitions are for a table's owner only (from PostgreSQL
-- 17 on MAINTAIN is enough for the first two), so the account becomes a member of the {owner} of the tables.
GRANT {owner} TO {account};  -- tend_tables, tend_partitions
GRANT pg_stat_scan_tables TO {account};  -- tend_tables: pgstattuple, where it is installed
