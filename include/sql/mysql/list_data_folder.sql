-- Where the server keeps its data, and on which machine: only there does the folder's name mean anything.
SELECT @@hostname AS host, @@datadir AS folder;
