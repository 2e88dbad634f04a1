-- Every table with its size, indexes and partitions included, largest first; whether a row can be told from all others,
-- and whose it is: whoever becomes a member of a superuser is one.
SELECT CASE WHEN n.nspname = 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END AS name,
       (SELECT sum(pg_total_relation_size(relid))
          FROM (SELECT c.oid AS relid UNION SELECT relid FROM pg_partition_tree(c.oid)) parts)::bigint AS bytes,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS has_key,
       pg_get_userbyid(c.relowner) AS owner,
       (SELECT rolsuper FROM pg_roles WHERE oid = c.relowner) AS of_superuser
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
   AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
 ORDER BY 2 DESC, 1;
