-- The base tables of the current database, with what the server guesses of their rows and bytes.
SELECT t.TABLE_NAME AS name,
       t.ENGINE AS engine,
       t.TABLE_ROWS AS row_estimate,
       COALESCE(t.DATA_LENGTH, 0) AS data_bytes,
       COALESCE(e.TRANSACTIONS = 'YES', 0) AS transactional,
       t.TABLE_TYPE = 'SYSTEM VERSIONED' AS versioned
  FROM information_schema.TABLES t
  LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE
 WHERE t.TABLE_SCHEMA = DATABASE()
   AND t.TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')
 ORDER BY COALESCE(t.DATA_LENGTH, 0) DESC, t.TABLE_NAME;
