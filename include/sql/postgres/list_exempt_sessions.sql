-- Sessions on the database of such roles: what ALTER ROLE says outweighs what ALTER DATABASE says.
SELECT a.usename AS "user", COALESCE(host(a.client_addr), 'a local socket') AS host, a.pid
  FROM pg_stat_activity a
  JOIN pg_database d ON d.oid = a.datid
  JOIN pg_db_role_setting s ON s.setrole = a.usesysid AND s.setdatabase IN (0, d.oid)
 WHERE d.datname = %s
   AND a.pid <> pg_backend_pid()
   AND EXISTS (SELECT FROM unnest(s.setconfig) AS setting WHERE setting ~ '^default_transaction_read_only=(off|false|no|0)$')
 ORDER BY 1, 3;
