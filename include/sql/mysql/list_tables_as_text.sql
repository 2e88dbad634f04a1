-- Tables of the current database with values that a dump may only write as text in utf8mb4: those of another character
-- set, and those of types that take a string of bytes for something else (JSON refuses it, UUID and INET6 read it as
-- their binary form). A type that is not in the list may be one of them.
SELECT DISTINCT c.TABLE_NAME AS name
  FROM information_schema.COLUMNS c
  JOIN information_schema.TABLES t ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME
 WHERE c.TABLE_SCHEMA = DATABASE()
   AND t.TABLE_TYPE <> 'VIEW'
   AND (c.CHARACTER_SET_NAME NOT IN ('utf8mb4', 'utf8mb3', 'utf8', 'ascii')
        OR c.DATA_TYPE NOT IN
           ('tinyint', 'smallint', 'mediumint', 'int', 'bigint', 'decimal', 'float', 'double', 'bit', 'year',
            'date', 'time', 'datetime', 'timestamp', 'enum', 'set', 'char', 'varchar',
            'tinytext', 'text', 'mediumtext', 'longtext', 'binary', 'varbinary',
            'tinyblob', 'blob', 'mediumblob', 'longblob'))
 ORDER BY 1;
