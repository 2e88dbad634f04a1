-- What the account may do, by itself and by its active roles.
SHOW GRANTS;
