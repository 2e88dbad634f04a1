-- Who waits for whose rows, on MariaDB and MySQL 5.7.
SELECT r.trx_mysql_thread_id AS waiting,
       b.trx_mysql_thread_id AS blocking,
       l.lock_table AS table_name,
       TIMESTAMPDIFF(SECOND, r.trx_wait_started, NOW()) AS waited_s,
       TIMESTAMPDIFF(SECOND, b.trx_started, NOW()) AS open_s,
       r.trx_query AS query
  FROM information_schema.INNODB_LOCK_WAITS w
  JOIN information_schema.INNODB_TRX r ON r.trx_id = w.requesting_trx_id
  JOIN information_schema.INNODB_TRX b ON b.trx_id = w.blocking_trx_id
  JOIN information_schema.INNODB_LOCKS l ON l.lock_id = w.requested_lock_id
 WHERE l.lock_table LIKE CONCAT('`', DATABASE(), '`.%');
