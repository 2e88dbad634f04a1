-- How many sessions are at work, this one included.
SHOW GLOBAL STATUS LIKE 'Threads_running';
