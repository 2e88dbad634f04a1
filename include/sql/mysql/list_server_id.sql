-- Tells two servers behind one address apart.
SELECT @@server_id AS server_id;
