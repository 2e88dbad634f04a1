-- Roles whose own setting outweighs the database's: their sessions write where the database makes new ones read only.
SELECT DISTINCT r.rolname AS role
  FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
 WHERE EXISTS (SELECT FROM unnest(s.setconfig) AS setting WHERE setting ~ '^default_transaction_read_only=(off|false|no|0)$')
 ORDER BY 1;
