-- Rows of one partition, up to a limit; NULL is none.
SELECT count(*) AS row_count FROM (SELECT 1 FROM ONLY {partition} LIMIT %s::int8) few;
