-- What tells this session from every other one, also from those after a restart of the server, which numbers them anew.
SELECT ID AS id, USER AS user_name, HOST AS place FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID();
