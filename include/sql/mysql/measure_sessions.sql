-- How busy the server is. information_schema and SHOW differ by flavour and privilege; these are open to every account.
SHOW GLOBAL STATUS WHERE Variable_name IN ('Threads_connected', 'Threads_running', 'Max_used_connections', 'Uptime');
