-- The replicas that have registered here. MySQL from 8.0.22 on.
SHOW REPLICAS;
