-- The columns of every table of the current database, with the table's size; those that are computed come by themselves.
-- Sequences have columns too, and no rows worth counting.
SELECT t.TABLE_NAME AS table_name,
       t.TABLE_TYPE AS table_type,
       COALESCE(t.DATA_LENGTH, 0) AS bytes,
       c.COLUMN_NAME AS name,
       LOWER(c.DATA_TYPE) AS type
  FROM information_schema.TABLES t
  JOIN information_schema.COLUMNS c ON c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME
 WHERE t.TABLE_SCHEMA = DATABASE()
   AND t.TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE')
   AND COALESCE(c.GENERATION_EXPRESSION, '') = ''
 ORDER BY t.TABLE_NAME, c.ORDINAL_POSITION;
