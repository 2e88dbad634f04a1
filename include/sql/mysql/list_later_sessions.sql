-- Sessions of one account from one machine in this database, begun after that number: a program's own.
SELECT ID AS id
  FROM information_schema.PROCESSLIST
 WHERE ID > %s
   AND USER = %s
   AND LEFT(HOST, LENGTH(HOST) - LENGTH(SUBSTRING_INDEX(HOST, ':', -1))) = %s  -- without the port: 2001:db8::5:41234
   AND DB = DATABASE()
   AND ID <> CONNECTION_ID();
