-- Foreign keys of InnoDB that refer to one table, whether or not the account may see the tables that they belong to. Needs
-- PROCESS. For MariaDB and MySQL 5.7, where tables are written as InnoDB names files.
SELECT SUBSTR(f.ID, LOCATE('/', f.ID) + 1) AS name,
       CONVERT(CONVERT(CAST(SUBSTRING_INDEX(f.FOR_NAME, '/', 1) AS BINARY) USING filename) USING utf8mb4)
           AS table_schema,
       CONVERT(CONVERT(CAST(SUBSTRING_INDEX(f.FOR_NAME, '/', -1) AS BINARY) USING filename) USING utf8mb4)
           AS table_name,
       c.FOR_COL_NAME AS column_name,
       CASE WHEN f.TYPE & 1 THEN 'CASCADE' WHEN f.TYPE & 2 THEN 'SET NULL' WHEN f.TYPE & 16 THEN 'NO ACTION'
            ELSE 'RESTRICT' END AS on_delete
  FROM information_schema.INNODB_SYS_FOREIGN f
  JOIN information_schema.INNODB_SYS_FOREIGN_COLS c ON c.ID = f.ID
 WHERE f.REF_NAME = CONCAT(CAST(CONVERT(DATABASE() USING filename) AS BINARY), '/',
                           CAST(CONVERT(%s USING filename) AS BINARY))
 ORDER BY f.ID, c.POS;
