-- Who has which role on MySQL 8 and 9, and whether it is active from login on. Needs SELECT ON mysql.*.
SELECT e.FROM_USER AS role, e.FROM_HOST AS role_host, e.TO_USER AS user, e.TO_HOST AS host,
       e.WITH_ADMIN_OPTION = 'Y' AS is_admin, d.USER IS NOT NULL AS is_default
  FROM mysql.role_edges AS e
  LEFT JOIN mysql.default_roles AS d
    ON d.USER = e.TO_USER AND d.HOST = e.TO_HOST
   AND d.DEFAULT_ROLE_USER = e.FROM_USER AND d.DEFAULT_ROLE_HOST = e.FROM_HOST
 ORDER BY 1, 2, 3, 4;
