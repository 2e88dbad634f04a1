-- How far this replica is behind each of its primaries. MariaDB.
SHOW ALL SLAVES STATUS;
