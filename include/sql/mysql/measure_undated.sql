-- Whether the lowest partition holds rows without a date: RANGE puts them there. Zero dates count as none.
SELECT COUNT(*) AS row_count FROM (SELECT 1 FROM {table} PARTITION ({partition}) WHERE {column} IS NULL LIMIT 1) few;
