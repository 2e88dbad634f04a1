-- What a swap does to tables and rights that people may not expect.
SELECT CONCAT('table ', TABLE_NAME, ' uses ', ENGINE, ', which has no transactions: a crash of the server in the very ',
              'moment of the swap may damage it') AS told
  FROM information_schema.TABLES
 WHERE TABLE_SCHEMA = %s AND TABLE_TYPE = 'BASE TABLE' AND ENGINE NOT IN ('InnoDB', 'SEQUENCE') ORDER BY 1
