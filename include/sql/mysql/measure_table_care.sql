-- What tells what a table needs. blocking_index: a rebuild copies such a table while nobody may write it. Free space of
-- a table in a shared tablespace is that of the tablespace: own_file says whether it has a file of its own.
SELECT t.TABLE_NAME AS name,
       t.TABLE_TYPE AS kind,
       COALESCE(t.ENGINE, '') AS storage,
       COALESCE(t.TABLE_ROWS, 0) AS row_estimate,
       COALESCE(t.DATA_LENGTH, 0) + COALESCE(t.INDEX_LENGTH, 0) AS used_bytes,
       COALESCE(t.DATA_FREE, 0) AS free_bytes,
       UNIX_TIMESTAMP(t.UPDATE_TIME) AS updated_at,
       COALESCE(t.CREATE_OPTIONS LIKE '%%partitioned%%', 0) AS partitioned,
       COALESCE(t.CREATE_OPTIONS LIKE '%%TABLESPACE%%', 0) AS shared,
       EXISTS (SELECT 1 FROM information_schema.STATISTICS s
                WHERE s.TABLE_SCHEMA = t.TABLE_SCHEMA AND s.TABLE_NAME = t.TABLE_NAME
                  AND s.INDEX_TYPE IN ('FULLTEXT', 'SPATIAL')) AS blocking_index
  FROM information_schema.TABLES t
 WHERE t.TABLE_SCHEMA = DATABASE() AND (%s IS NULL OR t.TABLE_NAME = %s)
 ORDER BY t.TABLE_NAME;
