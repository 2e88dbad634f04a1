-- A scratch server of MySQL or MariaDB, which nobody else uses: what is restored there is made in the name of those it
-- belongs to, and dropped again. Rights are tried out there too, which only those may give who may hand on their own.
GRANT ALL ON *.* TO {account} WITH GRANT OPTION;  -- prove, drill
