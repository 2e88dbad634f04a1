-- The partitions of one table in their order; one row for each subpartition where there are any.
SELECT PARTITION_NAME AS name,
       PARTITION_METHOD AS method,
       PARTITION_EXPRESSION AS expression,
       SUBPARTITION_METHOD AS subpartitioned,
       PARTITION_DESCRIPTION AS bound,
       DATA_LENGTH + INDEX_LENGTH AS size,
       UPDATE_TIME AS changed_at
  FROM information_schema.PARTITIONS
 WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s AND PARTITION_NAME IS NOT NULL
 ORDER BY PARTITION_ORDINAL_POSITION, SUBPARTITION_ORDINAL_POSITION;
