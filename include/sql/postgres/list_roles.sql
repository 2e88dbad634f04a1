-- Roles that may log in or do everything, and through which other role they may become so: a superuser, or one that runs
-- programs or writes files as the server does. The role with oid 10 is the one the cluster was made with: it stays a
-- superuser.
SELECT rolname AS role,
       rolsuper AS superuser,
       rolcanlogin AS may_login,
       oid = 10 AS first,
       COALESCE(rolvaliduntil < now(), false) AS expired,
       (SELECT grand.rolname FROM pg_roles AS grand
         WHERE (grand.rolsuper OR grand.rolname IN ('pg_execute_server_program', 'pg_write_server_files'))
           AND NOT role.rolsuper AND grand.oid <> role.oid AND pg_has_role(role.oid, grand.oid, 'MEMBER')
         ORDER BY 1 LIMIT 1) AS through
  FROM pg_roles AS role
 WHERE rolsuper OR rolcanlogin;
