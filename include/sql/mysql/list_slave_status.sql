-- How far this replica is behind. MySQL before 8.0.22.
SHOW SLAVE STATUS;
