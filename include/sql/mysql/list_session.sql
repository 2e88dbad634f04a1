-- Whether a session is still there, as list_own_session knew it.
SELECT ID AS id FROM information_schema.PROCESSLIST WHERE ID = %s AND USER = %s AND HOST = %s;
