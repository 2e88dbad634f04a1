-- Roles that test restores made, by the comment they were given.
SELECT rolname AS name FROM pg_roles WHERE shobj_description(oid, 'pg_authid') = %s;
