-- The replicas that have registered here. MariaDB, and MySQL before 8.0.22.
SHOW SLAVE HOSTS;
