-- The primary key of the largest table that has one, a row for each column.
SELECT k.TABLE_NAME AS table_name, k.COLUMN_NAME AS column_name
  FROM information_schema.KEY_COLUMN_USAGE k
 WHERE k.TABLE_SCHEMA = DATABASE() AND k.CONSTRAINT_NAME = 'PRIMARY'
   AND k.TABLE_NAME = (SELECT t.TABLE_NAME
                         FROM information_schema.TABLES t
                         JOIN information_schema.TABLE_CONSTRAINTS c
                           ON c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME
                              AND c.CONSTRAINT_TYPE = 'PRIMARY KEY'
                        WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_TYPE = 'BASE TABLE'
                        ORDER BY t.DATA_LENGTH DESC, t.TABLE_NAME
                        LIMIT 1)
 ORDER BY k.ORDINAL_POSITION;
