-- Transactions of others that are between two of their statements at this moment, and the age of the oldest in seconds.
-- Needs PROCESS.
SELECT COUNT(*) AS open, COALESCE(MAX(TIMESTAMPDIFF(SECOND, trx_started, NOW())), 0) AS oldest_s
  FROM information_schema.INNODB_TRX
 WHERE trx_query IS NULL AND trx_mysql_thread_id NOT IN (0, CONNECTION_ID());
