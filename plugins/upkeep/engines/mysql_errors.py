"""What a number of MySQL's or MariaDB's errors is about."""

from __future__ import annotations

from pymysql.err import MySQLError

_CLIENT = range(2000, 3000)
"""Client error numbers, CR_MIN_ERROR to CR_MAX_ERROR. Servers use all others: MySQL's own begin again at 3000.
https://dev.mysql.com/doc/mysql-errors/en/client-error-reference.html"""


def is_about_the_connection(error: MySQLError | int) -> bool:
    """Whether an error came from the client: the connection is lost, or never was. Else it is about the statement."""
    number = error if isinstance(error, int) else error.args[0] if error.args else 0
    return number in _CLIENT
