-- Who has which role on MariaDB, where roles have no host, and whether it is active from login on. Needs SELECT ON mysql.*.
SELECT m.Role AS role, '' AS role_host, m.User AS user, m.Host AS host,
       m.Admin_option = 'Y' AS is_admin, COALESCE(u.default_role = m.Role, 0) AS is_default
  FROM mysql.roles_mapping AS m
  LEFT JOIN mysql.user AS u ON u.User = m.User AND u.Host = m.Host
 ORDER BY 1, 2, 3, 4;
