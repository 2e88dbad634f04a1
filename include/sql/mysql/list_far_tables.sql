-- The tables of the current database that lie on other servers. Each has the address in its own definition.
SELECT TABLE_NAME AS name, ENGINE AS engine
  FROM information_schema.TABLES
 WHERE TABLE_SCHEMA = DATABASE() AND ENGINE IN ('CONNECT', 'FEDERATED', 'SPIDER')
 ORDER BY TABLE_NAME;
