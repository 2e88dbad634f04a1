-- Partitions that a dump fills through their topmost parent. A hash of an enum goes by the numbers of its values, which are
-- other ones on every server: rows come back in other partitions. The rule is pg_dump's own (getPartitioningInfo).
-- A partition that was attached may have its columns in another order than others, and its rows then print otherwise.
WITH hashing_enums AS (
  SELECT p.partrelid AS oid
    FROM pg_partitioned_table p
   WHERE (SELECT o.oid
            FROM pg_opclass o JOIN pg_am a ON a.oid = o.opcmethod
           WHERE o.opcname = 'enum_ops' AND o.opcnamespace = 'pg_catalog'::regnamespace AND a.amname = 'hash'
         ) = ANY (p.partclass)
), columns AS (
  SELECT attrelid AS oid, array_agg(attname ORDER BY attnum) AS names
    FROM pg_attribute
   WHERE attnum > 0 AND NOT attisdropped
   GROUP BY 1
)
SELECT n.nspname || '.' || c.relname AS name, parent_schema.nspname || '.' || parent.relname AS parent,
       own.names = those.names AS prints_alike
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN columns own ON own.oid = c.oid
  JOIN pg_class parent ON parent.oid = pg_partition_root(c.oid)
  JOIN pg_namespace parent_schema ON parent_schema.oid = parent.relnamespace
  JOIN columns those ON those.oid = parent.oid
 WHERE c.relkind = 'r'
   AND c.relispartition
   AND EXISTS (SELECT FROM pg_partition_ancestors(c.oid) AS above JOIN hashing_enums h ON h.oid = above.relid);
