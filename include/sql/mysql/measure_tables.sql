-- The largest tables of the current database, each with its indexes and all its partitions. Rows are InnoDB's estimate.
SELECT TABLE_NAME AS name, DATA_LENGTH + INDEX_LENGTH AS bytes, TABLE_ROWS AS row_estimate
  FROM information_schema.TABLES
 WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')
 ORDER BY 2 DESC, 1
 LIMIT %s;
