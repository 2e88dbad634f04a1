-- What lets a database log in to other servers, each as the statement that takes it away.
SELECT srvname AS server,
       format('DROP USER MAPPING FOR %s SERVER %I', CASE umuser WHEN 0 THEN 'PUBLIC' ELSE quote_ident(usename) END, srvname)
       AS statement
  FROM pg_user_mappings
 ORDER BY 1, 2;
