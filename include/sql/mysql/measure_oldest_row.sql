-- The oldest row before the cut-off: one look at the beginning of the index.
SELECT MIN({column}) AS oldest FROM {table} FORCE INDEX ({index}) WHERE {column} >= %s AND {column} < %s;
