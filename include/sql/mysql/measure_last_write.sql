-- Seconds since a table was last written to; NULL: not since the server opened it.
SELECT UNIX_TIMESTAMP() - UNIX_TIMESTAMP(UPDATE_TIME) AS ago
  FROM information_schema.TABLES
 WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s;
