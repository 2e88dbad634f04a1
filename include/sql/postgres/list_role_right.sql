-- Whether this session has what a role has.
SELECT pg_has_role(current_user, %s, 'USAGE') AS held;
