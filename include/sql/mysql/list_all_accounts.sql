-- Every account: what TLS it has to come with, and whether it has rights in all databases. No hash is read. Needs SELECT
-- ON mysql.*.
SELECT User AS user, Host AS host, ssl_type, ssl_cipher, x509_issuer, x509_subject,
       'Y' IN (Select_priv, Insert_priv, Update_priv, Delete_priv, Create_priv, Drop_priv, Alter_priv, Index_priv,
               References_priv, Execute_priv, Trigger_priv, Event_priv, Create_view_priv, Show_view_priv,
               Create_routine_priv, Alter_routine_priv, Lock_tables_priv, Super_priv, Create_user_priv) AS is_global
  FROM mysql.user;
