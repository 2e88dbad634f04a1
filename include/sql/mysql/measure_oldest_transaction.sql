-- Seconds since the oldest open InnoDB transaction began. Needs PROCESS.
SELECT COALESCE(MAX(TIMESTAMPDIFF(SECOND, trx_started, NOW())), 0) AS oldest_s FROM information_schema.INNODB_TRX;
