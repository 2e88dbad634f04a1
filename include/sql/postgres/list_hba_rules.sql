-- Who is let in without a password, or with one that crosses the network readable. As the file is now, loaded or not.
SELECT type, array_to_string(database, ',') AS databases, array_to_string(user_name, ',') AS roles,
       COALESCE(address, '') AS address, COALESCE(netmask, '') AS netmask, auth_method AS method
  FROM pg_hba_file_rules
 WHERE error IS NULL AND auth_method IN ('trust', 'password');
