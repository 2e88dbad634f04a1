-- Columns whose values mysqldump rounds: a FLOAT is written with six significant digits, 16777216 as 16777200.
SELECT c.TABLE_NAME AS table_name, c.COLUMN_NAME AS column_name
  FROM information_schema.COLUMNS c
  JOIN information_schema.TABLES t ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME
 WHERE c.TABLE_SCHEMA = DATABASE()
   AND c.DATA_TYPE = 'float'
   AND t.TABLE_TYPE <> 'VIEW'
 ORDER BY 1, 2;
