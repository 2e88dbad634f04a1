-- Lets pg_dump, and whoever counts rows, see the very same moment.
SELECT pg_export_snapshot() AS snapshot;
