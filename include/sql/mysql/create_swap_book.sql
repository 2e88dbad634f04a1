-- What a swap is going to do, written down in the restored database before anything is changed.
CREATE TABLE {book} (
  line INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(8) NOT NULL, place VARCHAR(64) NOT NULL, kind VARCHAR(16) NOT NULL,
  name VARCHAR(64) NOT NULL, body LONGTEXT NOT NULL, settings VARCHAR(4000) NOT NULL, charset VARCHAR(64) NOT NULL,
  collation VARCHAR(64) NOT NULL, time_zone VARCHAR(64) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
