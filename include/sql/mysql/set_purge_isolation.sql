-- Locks the rows that are deleted and no gaps between them. Not for servers that log statements.
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
