-- The free bytes of the disk that holds a folder, as MariaDB's plugin DISKS sees it.
SELECT Available * 1024 AS free_bytes
  FROM information_schema.DISKS
 WHERE %s LIKE CONCAT(Path, '%%')
 ORDER BY LENGTH(Path) DESC
 LIMIT 1;
