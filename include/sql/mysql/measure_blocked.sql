-- Sessions that wait for an InnoDB row lock, and those that wait for a whole table or for its definition, as behind an ALTER
-- TABLE. Needs PROCESS; works on both flavours and all releases.
SELECT (SELECT COUNT(*) FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT')
     + (SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for % lock') AS blocked;
