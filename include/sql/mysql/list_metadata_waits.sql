-- Who waits for a table's definition, and for whom: who holds it and waits for nothing there himself.
SELECT w.PROCESSLIST_ID AS waiting,
       h.PROCESSLIST_ID AS blocking,
       p.OBJECT_NAME AS table_name,
       w.PROCESSLIST_TIME AS waited_s,
       COALESCE(TIMESTAMPDIFF(SECOND, t.trx_started, NOW()), h.PROCESSLIST_TIME) AS open_s,
       w.PROCESSLIST_INFO AS query
  FROM performance_schema.metadata_locks p
  JOIN performance_schema.threads w ON w.THREAD_ID = p.OWNER_THREAD_ID
  JOIN performance_schema.metadata_locks g
    ON g.OBJECT_TYPE = p.OBJECT_TYPE AND g.OBJECT_SCHEMA = p.OBJECT_SCHEMA AND g.OBJECT_NAME = p.OBJECT_NAME
   AND g.LOCK_STATUS = 'GRANTED' AND g.OWNER_THREAD_ID <> p.OWNER_THREAD_ID
  JOIN performance_schema.threads h ON h.THREAD_ID = g.OWNER_THREAD_ID
  LEFT JOIN performance_schema.metadata_locks also
    ON also.OBJECT_TYPE = g.OBJECT_TYPE AND also.OBJECT_SCHEMA = g.OBJECT_SCHEMA AND also.OBJECT_NAME = g.OBJECT_NAME
   AND also.LOCK_STATUS = 'PENDING' AND also.OWNER_THREAD_ID = g.OWNER_THREAD_ID
  LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = h.PROCESSLIST_ID
 WHERE p.LOCK_STATUS = 'PENDING' AND p.OBJECT_TYPE = 'TABLE' AND p.OBJECT_SCHEMA = DATABASE()
   AND also.OWNER_THREAD_ID IS NULL;
