-- Who waits for a table's definition, where nobody keeps count of who holds it.
SELECT ID AS waiting, NULL AS blocking, NULL AS table_name, TIME AS waited_s, NULL AS open_s, INFO AS query
  FROM information_schema.PROCESSLIST
 WHERE STATE = 'Waiting for table metadata lock' AND DB = DATABASE();
