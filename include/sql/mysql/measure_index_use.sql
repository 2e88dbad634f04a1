-- How often each index was used since the server started.
SELECT OBJECT_NAME AS table_name, INDEX_NAME AS name, COUNT_STAR AS uses
  FROM performance_schema.table_io_waits_summary_by_index_usage
 WHERE OBJECT_SCHEMA = DATABASE() AND INDEX_NAME IS NOT NULL;
