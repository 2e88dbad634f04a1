-- As whom the server takes this session.
SELECT quote_ident(current_user) AS account,
       current_setting('server_version') AS version,
       rolsuper AS superuser, rolcreatedb AS may_create
  FROM pg_roles WHERE rolname = current_user;
