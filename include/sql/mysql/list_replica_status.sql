-- How far this replica is behind. MySQL from 8.0.22 on.
SHOW REPLICA STATUS;
