-- Kinds of statement that take the most time in all, and those that once took longest.
WITH own AS (SELECT queryid::text AS id, query AS text, calls,
                    {total} / 1000 AS total_s, {worst} / 1000 AS worst_s
               FROM {schema}.pg_stat_statements
              WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND queryid IS NOT NULL)
(SELECT * FROM own ORDER BY total_s DESC LIMIT 20)
UNION
(SELECT * FROM own ORDER BY worst_s DESC LIMIT 20);
