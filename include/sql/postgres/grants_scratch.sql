-- A scratch server of PostgreSQL, which nobody else uses: copies belong to the roles that own the originals, whoever they
-- are, and bring their extensions along; only a superuser may do both.
ALTER ROLE {account} SUPERUSER;  -- prove, drill
