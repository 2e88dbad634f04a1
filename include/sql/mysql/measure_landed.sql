-- Rows of a catch-all partition by month.
SELECT COALESCE(DATE_FORMAT({column}, '%%Y-%%m'), '') AS month, COUNT(*) AS row_count
  FROM {table} PARTITION ({partition})
 GROUP BY 1;
