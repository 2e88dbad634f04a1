-- MariaDB's roles, whose privileges are in no information_schema. Needs SELECT ON mysql.*.
SELECT User AS role FROM mysql.user WHERE is_role = 'Y'
