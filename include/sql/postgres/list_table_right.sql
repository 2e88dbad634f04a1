-- Whether this session has a right on a table; one that isn't there is for the duty that looks for it to tell.
SELECT COALESCE(has_table_privilege(to_regclass(%s), %s), true) AS held;
