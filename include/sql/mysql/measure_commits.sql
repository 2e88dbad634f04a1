-- How many transactions were begun or ended by a statement of their own since the server started; what autocommits
-- doesn't count.
SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_begin', 'Com_commit', 'Com_rollback');
