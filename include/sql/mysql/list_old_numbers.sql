-- The same as list_old_keys for a key that is one whole number, in a single value: a client reads a hundred thousand rows
-- more slowly than the server deletes them. many shows whether the value was cut off at its longest.
SELECT GROUP_CONCAT(found.{key} ORDER BY found.{column}, found.{key}) AS numbers,
       MAX(found.{column}) AS last,
       COUNT(*) AS many
  FROM (SELECT {column}, {key}
          FROM {table} FORCE INDEX ({index})
         WHERE {column} >= %s AND {column} < %s AND {beyond}
         ORDER BY {column}, {key}
         LIMIT %s) AS found;
