-- Where the binary log stands. MariaDB, and MySQL before 8.2.
SHOW MASTER STATUS;
