-- Rows that this session's open transaction has locked, for an account that may see transactions.
SELECT trx_rows_locked AS row_count FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id = CONNECTION_ID();
