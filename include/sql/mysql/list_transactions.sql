-- Only answered to an account with PROCESS: it shows whether list_sessions tells of everybody.
SELECT 1 FROM information_schema.INNODB_TRX LIMIT 1;
