-- When InnoDB made the statistics of each table, by the server's clock. Needs SELECT on mysql.innodb_table_stats.
SELECT table_name AS name,
       UNIX_TIMESTAMP(last_update) AS made_at,
       UNIX_TIMESTAMP() AS now
  FROM mysql.innodb_table_stats
 WHERE database_name = DATABASE();
