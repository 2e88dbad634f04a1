-- The same in the words that MariaDB, and MySQL before 8.0.22, know.
SHOW SLAVE STATUS;
