-- Accounts (on MySQL roles too) that may write although the server is read only: by SUPER, if it lets them on this release.
SELECT DISTINCT GRANTEE AS grantee
  FROM information_schema.USER_PRIVILEGES
 WHERE PRIVILEGE_TYPE IN ('CONNECTION_ADMIN', 'READ_ONLY ADMIN') OR (PRIVILEGE_TYPE = 'SUPER' AND %s)
 ORDER BY 1
