-- What this server replicates from, if anything. MySQL from 8.0.22 on.
SHOW REPLICA STATUS;
