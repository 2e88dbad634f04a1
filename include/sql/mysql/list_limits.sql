-- Flavour and limits.
SELECT @@version AS version, @@max_connections AS max_connections;
