-- How long one statement of this session may take: on MariaDB any one, in seconds; on MySQL from 5.7.8 on any one SELECT,
-- in milliseconds. A server runs the comment that is for it, and no other; an older one knows no limit.
/*M!100101 SET SESSION max_statement_time = %s */ /*!50708 SET SESSION max_execution_time = %s */;
