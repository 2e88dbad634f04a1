-- Accounts and roles that have rights of their own in some database, with its name; in mysql.db that is a pattern. Rows
-- of an account that is gone are left out. Needs SELECT ON mysql.*.
SELECT DISTINCT a.User AS user, a.Host AS host, r.place, r.is_pattern
  FROM (SELECT User, Host, Db AS place, 1 AS is_pattern FROM mysql.db
        UNION SELECT User, Host, Db, 0 FROM mysql.tables_priv
        UNION SELECT User, Host, Db, 0 FROM mysql.columns_priv
        UNION SELECT User, Host, Db, 0 FROM mysql.procs_priv) AS r
  JOIN mysql.user AS a ON a.User = r.User AND a.Host = r.Host
 ORDER BY 1, 2;
