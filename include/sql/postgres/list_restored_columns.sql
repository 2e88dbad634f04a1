-- The columns of tables that inherit, each with its place once a dump has made the table again: the parents' own first, as
-- they then stand. A column that a parent was given later stands behind the table's own until then. Several parents come in
-- the order in which pg_dump finds them: as their rows lie in pg_inherits, it doesn't sort them by inhseqno.
WITH RECURSIVE climbed AS (
  SELECT a.attrelid AS table_oid, a.attnum, a.attname, a.attrelid AS seen_in, a.attnum AS seen_as, ARRAY[]::int[] AS parents
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid
   WHERE c.relkind IN ('r', 'f') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
     AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)
  UNION ALL
  SELECT below.table_oid, below.attnum, below.attname, parent.oid, parent.attnum,
         below.parents || ARRAY[1, parent.number]  -- before what is a table's own
    FROM climbed below
   CROSS JOIN LATERAL (SELECT p.oid, p.number, a.attnum
                         FROM (SELECT i.inhparent AS oid, row_number() OVER (ORDER BY i.ctid)::int AS number
                                 FROM pg_inherits i WHERE i.inhrelid = below.seen_in) AS p
                         JOIN pg_attribute a ON a.attrelid = p.oid
                        WHERE a.attname = below.attname AND NOT a.attisdropped
                        ORDER BY p.number
                        LIMIT 1) AS parent
)
SELECT DISTINCT ON (table_oid, attnum) table_oid, attnum, parents || ARRAY[2, seen_as] AS place
  FROM climbed
 ORDER BY table_oid, attnum, cardinality(parents) DESC
