-- The next old rows in the order of date and primary key.
SELECT {column}, {key}
  FROM {table} AS t
 WHERE {old} AND {beyond}
 ORDER BY {column}, {key}
 LIMIT %s;
