-- Sessions that wait for an InnoDB row lock. Needs PROCESS; works on both flavours and all releases.
SELECT COUNT(*) AS blocked FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT';
