-- What the server's sessions are doing, and for how many seconds; without PROCESS only those of the own account.
SHOW PROCESSLIST;
