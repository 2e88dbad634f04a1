-- The same on MariaDB, whose accounts may have several ways to log in. Needs SELECT on mysql.global_priv.
SELECT User AS user, Host AS host, Priv AS privileges FROM mysql.global_priv;
