-- Defaults that may draw from a sequence; only MariaDB has any.
SELECT TABLE_NAME AS table_name, COLUMN_NAME AS name, COLUMN_DEFAULT AS definition
  FROM information_schema.COLUMNS
 WHERE TABLE_SCHEMA = %s AND COLUMN_DEFAULT LIKE '%%val(`%%' AND VERSION() LIKE '%%mariadb%%'
 ORDER BY TABLE_NAME, ORDINAL_POSITION
