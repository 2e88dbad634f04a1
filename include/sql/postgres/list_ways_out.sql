-- What lets a database reach other servers, each as the statement that takes it away: user mappings, and those functions of
-- dblink that connect (its others use what these have opened).
SELECT srvname AS server,
       format('DROP USER MAPPING FOR %s SERVER %I', CASE umuser WHEN 0 THEN 'PUBLIC' ELSE quote_ident(usename) END, srvname)
       AS statement
  FROM pg_user_mappings
 UNION ALL
SELECT 'dblink',
       format('CREATE OR REPLACE FUNCTION %I.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', n.nspname, p.proname,
              pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
              'BEGIN RAISE EXCEPTION ''dblink reaches no server from here''; END')
  FROM pg_extension e
  JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
  JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
  JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE e.extname = 'dblink' AND p.proname IN ('dblink', 'dblink_connect', 'dblink_connect_u', 'dblink_exec')
 ORDER BY 1, 2;
