-- The next old rows in the order of the index, which in InnoDB holds the primary key too: no row is touched.
SELECT {column} AS purge_date, {key}
  FROM {table} FORCE INDEX ({index})
 WHERE {column} >= %s AND {column} < %s AND {beyond}
 ORDER BY {column}, {order}
 LIMIT %s;
