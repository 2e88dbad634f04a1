-- Which server and database this is: flavour and version pick the client, identity tells two servers apart whatever their
-- names, and a restore begins by making the database with the same character set. wide_columns may hold rows that are
-- longer in a dump than max_allowed_packet lets a server take back.
SELECT @@version                                              AS version,
       @@log_bin                                              AS log_bin,
       CONCAT(@@hostname, ':', @@port, ':', @@server_id)      AS identity,
       @@character_set_database                               AS charset_name,
       @@collation_database                                   AS collation_name,
       (SELECT COUNT(*)
          FROM information_schema.COLUMNS
         WHERE TABLE_SCHEMA = DATABASE()
           AND (CHARACTER_OCTET_LENGTH > 1048576 OR DATA_TYPE IN
                ('json', 'vector', 'geometry', 'linestring', 'polygon', 'multipoint', 'multilinestring', 'multipolygon',
                 'geometrycollection', 'geomcollection')))    AS wide_columns;
