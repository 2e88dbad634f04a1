-- One table or view by its name.
SELECT t.TABLE_NAME AS name,
       t.TABLE_TYPE AS kind,
       t.ENGINE AS storage,
       COALESCE(e.TRANSACTIONS = 'YES', 0) AS transactional,
       COALESCE(t.CREATE_OPTIONS LIKE '%%partitioned%%', 0) AS partitioned
  FROM information_schema.TABLES t
  LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE
 WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_NAME = %s;
