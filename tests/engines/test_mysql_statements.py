"""What is said to MySQL and MariaDB in the words that each of them knows."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.servers.databases import MySqlDatabase
from upkeep.engines.mysql_engine import MySqlEngine
from upkeep.engines.mysql_statements import limit_statements, rows_of


@pytest.mark.parametrize("seconds", [1.5, 20, 0])
def test_each_server_is_given_the_limit_in_its_own_unit(any_mysql_database: MySqlDatabase, seconds: float) -> None:
    engine = MySqlEngine(any_mysql_database.endpoint(), any_mysql_database.name)
    with closing(engine.connect()) as connection:
        limit_statements(connection, 7)
        limit_statements(connection, seconds)
        found = rows_of(connection, "SHOW SESSION VARIABLES LIKE 'max\\_%\\_time'")
    values = {row["Variable_name"]: float(row["Value"]) for row in found}
    assert values in ({"max_statement_time": seconds}, {"max_execution_time": seconds * 1000})
