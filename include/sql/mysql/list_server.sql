-- Which server this is: flavour and version pick the client, identity tells two servers apart whatever their names.
SELECT @@version AS version,
       @@log_bin AS log_bin,
       CONCAT(@@hostname, ':', @@port, ':', @@server_id) AS identity;
