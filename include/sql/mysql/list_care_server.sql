-- What table care has to know of the server; a variable that a release or flavour lacks is left out.
SHOW GLOBAL VARIABLES WHERE Variable_name IN
  ('version', 'hostname', 'datadir', 'innodb_page_size', 'innodb_optimize_fulltext_only', 'old_alter_table',
   'alter_algorithm', 'wsrep_on', 'read_only');
