-- Who has a database open: each holds up its removal.
SELECT ID AS id FROM information_schema.PROCESSLIST WHERE DB = %s AND ID <> CONNECTION_ID();
