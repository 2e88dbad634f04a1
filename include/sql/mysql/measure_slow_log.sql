-- The newest statements in the slow query log, where it is a table.
SELECT TIME_TO_SEC(query_time) + MICROSECOND(query_time) / 1e6 AS seconds, sql_text AS text
  FROM mysql.slow_log
 WHERE db = DATABASE()
 ORDER BY start_time DESC
 LIMIT 1000;
