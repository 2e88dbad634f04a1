-- Pages that each index holds, and those of them that hold rows. Needs SELECT on mysql.innodb_index_stats.
SELECT table_name AS name,
       index_name,
       MAX(CASE WHEN stat_name = 'size' THEN stat_value END) AS held,
       MAX(CASE WHEN stat_name = 'n_leaf_pages' THEN stat_value END) AS leaves
  FROM mysql.innodb_index_stats
 WHERE database_name = DATABASE() AND stat_name IN ('size', 'n_leaf_pages')
 GROUP BY table_name, index_name;
