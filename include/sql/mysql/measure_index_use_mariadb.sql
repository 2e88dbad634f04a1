-- Rows read by way of each index since userstat was switched on; an index that isn't listed was not used.
SELECT TABLE_NAME AS table_name, INDEX_NAME AS name, ROWS_READ AS uses
  FROM information_schema.INDEX_STATISTICS
 WHERE TABLE_SCHEMA = DATABASE();
