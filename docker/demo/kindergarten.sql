-- A small kindergarten for the profile demo, and the grants of include/sql/mysql/grants_{daily,weekly}.sql that the image
-- doesn't give its account by itself (it has all rights on the database).
CREATE TABLE students (
    id INT NOT NULL PRIMARY KEY, name VARCHAR(50) NOT NULL,
    status ENUM('active', 'graduated', 'left') NOT NULL DEFAULT 'active', KEY idx_status (status));
CREATE TABLE audit_logs (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, action VARCHAR(50) NOT NULL, created_at DATETIME NOT NULL,
    KEY idx_created_at (created_at));
CREATE TABLE digits (digit INT NOT NULL PRIMARY KEY);
INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
INSERT INTO students
    SELECT a.digit * 100 + b.digit * 10 + c.digit, CONCAT('学生', a.digit, b.digit, c.digit), ELT(1 + c.digit % 3, 'active', 'graduated', 'left')
    FROM digits a JOIN digits b JOIN digits c;
INSERT INTO audit_logs (action, created_at)
    SELECT 'login', NOW() - INTERVAL (a.digit * 10 + b.digit) DAY FROM digits a JOIN digits b JOIN digits c;
DROP TABLE digits;

SET @month = DATE_FORMAT(CURDATE(), '%Y%m');
SET @next = DATE_FORMAT(CURDATE() + INTERVAL 1 MONTH, '%Y%m');
SET @create = CONCAT(
    'CREATE TABLE attendance_records (id INT NOT NULL, student_id INT NOT NULL, attendance_date DATE NOT NULL, ',
    'PRIMARY KEY (id, attendance_date)) PARTITION BY RANGE (YEAR(attendance_date) * 100 + MONTH(attendance_date)) ',
    '(PARTITION p', @month, ' VALUES LESS THAN (', @next, '))');
PREPARE made FROM @create;
EXECUTE made;
DEALLOCATE PREPARE made;
INSERT INTO attendance_records SELECT id, id, CURDATE() FROM students WHERE status = 'active';

GRANT RELOAD, PROCESS, SHOW_ROUTINE, REPLICATION CLIENT, REPLICATION SLAVE, OPTIMIZE_LOCAL_TABLE ON *.* TO upkeep@'%';
GRANT SELECT ON mysql.user TO upkeep@'%';
GRANT SELECT ON mysql.innodb_table_stats TO upkeep@'%';
GRANT SELECT ON mysql.innodb_index_stats TO upkeep@'%';
GRANT SELECT ON performance_schema.* TO upkeep@'%';
