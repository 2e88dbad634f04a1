-- The exact number of rows before the cut-off, as long as they are few.
SELECT count(*) AS few FROM (SELECT FROM {table} AS t WHERE {old} LIMIT %s) AS few_rows;
