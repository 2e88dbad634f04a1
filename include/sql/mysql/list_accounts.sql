-- Who may log in to MySQL, and how well each is guarded. Needs SELECT on mysql.user; the hashes themselves stay there.
SELECT User AS user, Host AS host, plugin,
       COALESCE(authentication_string, '') = '' AS no_password,
       Super_priv = 'Y' AS superuser,
       account_locked = 'Y' AS locked
  FROM mysql.user;
