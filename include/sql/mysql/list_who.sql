-- As whom the server takes this session: the account that the grants are for, not the name that was sent.
SELECT CURRENT_USER() AS account, @@version AS version;
