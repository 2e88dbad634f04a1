"""What an error's number is about."""

from __future__ import annotations

import pymysql
import pytest

from upkeep.engines.mysql_errors import is_about_the_connection


@pytest.mark.parametrize(
    ("number", "lost"),
    [(2003, True), (2006, True), (2013, True), (1146, False), (1969, False), (3024, False), (4092, False)],
)
def test_only_the_clients_own_numbers_mean_a_lost_connection(number: int, lost: bool) -> None:
    assert is_about_the_connection(pymysql.OperationalError(number, "said")) is lost
    assert is_about_the_connection(number) is lost


def test_an_error_without_a_number_is_none() -> None:
    assert not is_about_the_connection(pymysql.MySQLError())
