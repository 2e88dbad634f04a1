-- Columns that hold a moment, and whether an index begins with them. has_zone: kept as an instant, shown in the session's
-- time zone.
SELECT c.TABLE_NAME                  AS table_name,
       c.COLUMN_NAME                 AS column_name,
       c.DATA_TYPE = 'timestamp'     AS has_zone,
       MAX(s.COLUMN_NAME IS NOT NULL) AS indexed
  FROM information_schema.COLUMNS c
  JOIN information_schema.TABLES t
    ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME AND t.TABLE_TYPE = 'BASE TABLE'
  LEFT JOIN information_schema.STATISTICS s
    ON s.TABLE_SCHEMA = c.TABLE_SCHEMA AND s.TABLE_NAME = c.TABLE_NAME AND s.COLUMN_NAME = c.COLUMN_NAME
       AND s.SEQ_IN_INDEX = 1 AND s.INDEX_TYPE = 'BTREE'
 WHERE c.TABLE_SCHEMA = DATABASE() AND c.DATA_TYPE IN ('datetime', 'timestamp')
 GROUP BY c.TABLE_NAME, c.COLUMN_NAME, c.DATA_TYPE
 ORDER BY indexed DESC, c.TABLE_NAME, c.COLUMN_NAME;
