-- The columns of one table in their order.
SELECT COLUMN_NAME AS name,
       COLUMN_TYPE AS type,
       DATA_TYPE AS data_type,
       IS_NULLABLE = 'YES' AS nullable,
       COALESCE(GENERATION_EXPRESSION, '') <> '' AS computed,
       EXTRA LIKE '%%auto_increment%%' AS counted,
       COALESCE(CHARACTER_OCTET_LENGTH, 24) AS octets
  FROM information_schema.COLUMNS
 WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s
 ORDER BY ORDINAL_POSITION;
