-- Rows of one partition, up to a limit.
SELECT COUNT(*) AS row_count FROM (SELECT 1 FROM {table} PARTITION ({partition}) LIMIT %s) few;
