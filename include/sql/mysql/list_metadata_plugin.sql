-- Whether MariaDB's plugin is loaded that lists who holds metadata locks.
SELECT COUNT(*) AS loaded FROM information_schema.PLUGINS
 WHERE PLUGIN_NAME = 'METADATA_LOCK_INFO' AND PLUGIN_STATUS = 'ACTIVE';
