-- Roles that may log in or do everything. The role with oid 10 is the one the cluster was made with: it stays a superuser.
SELECT rolname AS role,
       rolsuper AS superuser,
       rolcanlogin AS may_login,
       oid = 10 AS first,
       COALESCE(rolvaliduntil < now(), false) AS expired
  FROM pg_roles
 WHERE rolsuper OR rolcanlogin;
