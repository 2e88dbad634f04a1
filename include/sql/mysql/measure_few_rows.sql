-- The exact number of rows before the cut-off, as long as they are few; estimates of a range are off by half and more.
SELECT COUNT(*) AS few
  FROM (SELECT 1 FROM {table} FORCE INDEX ({index}) WHERE {column} >= %s AND {column} < %s LIMIT %s) AS few_rows;
