-- As whom the server takes this session.
SELECT quote_ident(current_user) AS account,
       current_setting('server_version') AS version,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser;
