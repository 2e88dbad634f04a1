-- Where the binary log stands. MySQL from 8.2 on.
SHOW BINARY LOG STATUS;
