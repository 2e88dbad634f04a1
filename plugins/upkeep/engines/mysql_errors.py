"""What a number of MySQL's or MariaDB's errors is about."""

from __future__ import annotations

from pymysql.constants import ER
from pymysql.err import MySQLError

_CLIENT = range(2000, 3000)
"""Client error numbers, CR_MIN_ERROR to CR_MAX_ERROR. Servers use all others: MySQL's own begin again at 3000.
https://dev.mysql.com/doc/mysql-errors/en/client-error-reference.html"""
_TURNED_AWAY = (
    ER.ACCESS_DENIED_ERROR,  # no such account, or another password
    1698,  # ER_ACCESS_DENIED_NO_PASSWORD_ERROR: it logs in by other means, a socket say
    ER.HOST_NOT_PRIVILEGED,
    ER.HOST_IS_BLOCKED,  # until somebody flushes the hosts
    1862,  # ER_MUST_CHANGE_PASSWORD_LOGIN
    3118,  # MySQL's ER_ACCOUNT_HAS_BEEN_LOCKED, and its lock after too many wrong passwords
    3955,
    4150,  # MariaDB's ER_USER_IS_BLOCKED, for the same reason, and ER_ACCOUNT_HAS_BEEN_LOCKED
    4151,
)
"""Not among them: too many connections (1040, 1203, 1226), which pass."""


def is_about_the_connection(error: MySQLError | int) -> bool:
    """Whether an error came from the client: the connection is lost, or never was. Else it is about the statement."""
    return _number(error) in _CLIENT


def turns_away(error: BaseException) -> bool:
    """Whether a server that was logged in to will have none of this account until a person acts. Only for errors of the
    login itself: statements are refused by the same numbers.
    """
    return isinstance(error, MySQLError) and _number(error) in _TURNED_AWAY


def _number(error: MySQLError | int) -> int:
    return error if isinstance(error, int) else error.args[0] if error.args else 0
