-- Whether MariaDB counts uses, and who said so: CONFIG holds since the server started.
SELECT GLOBAL_VALUE AS value, GLOBAL_VALUE_ORIGIN AS origin
  FROM information_schema.SYSTEM_VARIABLES
 WHERE VARIABLE_NAME = 'USERSTAT';
