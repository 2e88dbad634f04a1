-- Sessions of one account from one machine in this database, begun after that number: a program's own.
SELECT ID AS id
  FROM information_schema.PROCESSLIST
 WHERE ID > %s
   AND USER = %s
   AND SUBSTRING_INDEX(HOST, ':', 1) = SUBSTRING_INDEX(%s, ':', 1)
   AND DB = DATABASE()
   AND ID <> CONNECTION_ID();
