-- The row with the highest AUTO_INCREMENT value.
SELECT {key} FROM {table} ORDER BY {counted} DESC LIMIT 1;
