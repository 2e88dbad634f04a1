-- How the passwords of roles that may log in are kept. Superusers only; the hashes themselves stay there.
SELECT rolname AS role,
       rolpassword IS NULL AS missing,
       COALESCE(rolpassword LIKE 'md5%', false) AS md5
  FROM pg_authid
 WHERE rolcanlogin;
