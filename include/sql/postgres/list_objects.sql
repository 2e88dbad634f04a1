-- What a dump must hold besides tables; what belongs to an extension comes with the extension.
WITH own AS (
  SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
)
SELECT 'schemas' AS kind, nspname AS name FROM own
UNION ALL
SELECT CASE c.relkind WHEN 'S' THEN 'sequences' ELSE 'views' END, own.nspname || '.' || c.relname
  FROM pg_class c JOIN own ON own.oid = c.relnamespace
 WHERE c.relkind IN ('v', 'm', 'S')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
UNION ALL
SELECT 'routines', own.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')'
  FROM pg_proc p JOIN own ON own.oid = p.pronamespace
 WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT 'triggers', own.nspname || '.' || c.relname || '.' || t.tgname
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN own ON own.oid = c.relnamespace
 WHERE NOT t.tgisinternal
UNION ALL
SELECT 'extensions', extname FROM pg_extension WHERE extname <> 'plpgsql';
