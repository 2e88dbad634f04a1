-- The same from MariaDB's plugin, which lists what is held and not what is waited for: a session that waits to change a
-- table holds a weaker lock on it already, and that tells which table it is.
SELECT w.ID AS waiting,
       h.ID AS blocking,
       wanted.TABLE_NAME AS table_name,
       w.TIME AS waited_s,
       COALESCE(TIMESTAMPDIFF(SECOND, t.trx_started, NOW()), h.TIME) AS open_s,
       w.INFO AS query
  FROM information_schema.PROCESSLIST w
  LEFT JOIN information_schema.METADATA_LOCK_INFO wanted
    ON wanted.THREAD_ID = w.ID AND wanted.TABLE_SCHEMA = DATABASE() AND wanted.LOCK_TYPE = 'Table metadata lock'
  LEFT JOIN information_schema.METADATA_LOCK_INFO held
    ON held.TABLE_SCHEMA = wanted.TABLE_SCHEMA AND held.TABLE_NAME = wanted.TABLE_NAME
   AND held.LOCK_TYPE = wanted.LOCK_TYPE AND held.THREAD_ID <> w.ID
  LEFT JOIN information_schema.PROCESSLIST h
    ON h.ID = held.THREAD_ID AND COALESCE(h.STATE, '') <> 'Waiting for table metadata lock'
  LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = h.ID
 WHERE w.STATE = 'Waiting for table metadata lock' AND w.DB = DATABASE();
