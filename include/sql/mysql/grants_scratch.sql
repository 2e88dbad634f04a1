-- A scratch server of MySQL or MariaDB, which nobody else uses: what is restored there is made in the name of those it
-- belongs to, and dropped again.
GRANT ALL ON *.* TO {account};  -- prove
