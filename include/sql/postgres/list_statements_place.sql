-- Where pg_stat_statements is, if it is, and how it calls its columns: total_time before 1.8.
SELECT n.nspname AS schema, string_to_array(e.extversion, '.')::int[] < ARRAY[1, 8] AS is_old
  FROM pg_extension e
  JOIN pg_namespace n ON n.oid = e.extnamespace
 WHERE e.extname = 'pg_stat_statements';
