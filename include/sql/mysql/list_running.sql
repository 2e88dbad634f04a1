-- How many sessions are at work, this one included, and how many statements all of them have sent so far.
SHOW GLOBAL STATUS WHERE Variable_name IN ('Threads_running', 'Questions');
