-- Who waits for whose rows, on MySQL 8.
SELECT r.trx_mysql_thread_id AS waiting,
       b.trx_mysql_thread_id AS blocking,
       l.OBJECT_NAME AS table_name,
       TIMESTAMPDIFF(SECOND, r.trx_wait_started, NOW()) AS waited_s,
       TIMESTAMPDIFF(SECOND, b.trx_started, NOW()) AS open_s,
       r.trx_query AS query
  FROM performance_schema.data_lock_waits w
  JOIN information_schema.INNODB_TRX r ON r.trx_id = w.REQUESTING_ENGINE_TRANSACTION_ID
  JOIN information_schema.INNODB_TRX b ON b.trx_id = w.BLOCKING_ENGINE_TRANSACTION_ID
  JOIN performance_schema.data_locks l ON l.ENGINE_LOCK_ID = w.REQUESTING_ENGINE_LOCK_ID
 WHERE l.OBJECT_SCHEMA = DATABASE();
