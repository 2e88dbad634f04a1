-- A bounded walk along the primary key: how fast pages are read.
SELECT COUNT(*) AS counted FROM (SELECT {keys} FROM {table} ORDER BY {keys} LIMIT 100000) AS first_keys;
