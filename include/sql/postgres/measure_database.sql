-- Bytes of the current database on disk, and how many tables it has; a partitioned table is one.
SELECT pg_database_size(current_database()) AS bytes,
       (SELECT count(*)
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND c.relpersistence <> 't'
           AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_') AS tables;
