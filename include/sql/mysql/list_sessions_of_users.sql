-- Who of these accounts has a database open.
SELECT ID AS id, USER AS user, HOST AS host
  FROM information_schema.PROCESSLIST
 WHERE DB = %s AND USER IN %s AND ID <> CONNECTION_ID()
 ORDER BY ID
