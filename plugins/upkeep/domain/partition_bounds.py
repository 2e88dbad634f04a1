"""The bounds of RANGE partitions by date: from a server's text to a moment, and back to what a statement says.

A moment is a ``datetime``: without a zone where the column holds days or wall clocks, in UTC where it holds instants.
Moments of one table are all of one kind, and only those are compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Literal
from zoneinfo import ZoneInfo

Kind = Literal["year and month", "day number", "day", "wall clock", "epoch", "instant"]
"""What a bound is: YEAR*100+MONTH, TO_DAYS, a date, a time without a zone, UNIX_TIMESTAMP, a time with one."""

_DAY_ZERO = 365
"""TO_DAYS counts from the year 0, Python from the year 1."""
_COLUMN = "{column}"
_EXPRESSIONS: tuple[tuple[str, Kind], ...] = (
    (r"\(*year\({c}\)\*100\)?\+month\({c}\)\)*", "year and month"),  # the server's own text, so parentheses match
    (r"\(*month\({c}\)\+\(*year\({c}\)\*100\)*", "year and month"),
    (r"\(*extract\(year_monthfrom{c}\)\)*", "year and month"),
    (r"\(*to_days\({c}\)\)*", "day number"),
    (r"\(*unix_timestamp\({c}\)\)*", "epoch"),
)
_MYSQL_COLUMNS: dict[str, Kind] = {"date": "day", "datetime": "wall clock"}
_POSTGRES_TYPES: dict[str, Kind] = {"date": "day", "timestamp": "wall clock", "timestamptz": "instant"}
_POSTGRES_BOUND = re.compile(r"FOR VALUES FROM \((.+)\) TO \((.+)\)")
_NO_LOWER, _NO_UPPER = {"MINVALUE", "'-infinity'"}, {"MAXVALUE", "'infinity'"}


class NotUnderstood(Exception):
    """A way of partitioning, or a bound, that nothing can be said about."""


def mysql_kind(method: str, expression: str, column: str, data_type: str) -> Kind:
    """Of MySQL's and MariaDB's ``partition_method`` and ``partition_expression``. Errors: ``NotUnderstood``."""
    quoted = "`" + column.replace("`", "``") + "`"
    # Letters of the column stay as they are, those of functions don't matter: MySQL and MariaDB print them differently.
    plain = expression.replace(quoted, _COLUMN).replace(" ", "").lower()
    if method == "RANGE COLUMNS" and plain == _COLUMN:
        if data_type in _MYSQL_COLUMNS:
            return _MYSQL_COLUMNS[data_type]
        raise NotUnderstood(f"by RANGE COLUMNS of a {data_type} column, which is not a date")
    if method == "RANGE":
        for pattern, kind in _EXPRESSIONS:
            if re.fullmatch(pattern.replace("{c}", re.escape(_COLUMN)), plain):
                return kind
    raise NotUnderstood(f"by {method} ({expression})")


def postgres_kind(strategy: str, key: str, columns: Iterable[str | None], column: str, data_type: str) -> Kind:
    """Of PostgreSQL's partition key.

    :param key: the whole key as the server prints it, such as ``RANGE (created_at)``.
    :param columns: its columns, None for expressions.
    :param data_type: the column's, as in ``pg_type``.
    :raises NotUnderstood: it isn't one column of dates.
    """
    if strategy == "r" and list(columns) == [column] and data_type in _POSTGRES_TYPES:
        return _POSTGRES_TYPES[data_type]
    raise NotUnderstood(f"by {key}" + (f", and {column} is {data_type}" if strategy == "r" and data_type else ""))


@dataclass(frozen=True)
class Range:
    """``lower`` <= value < ``upper``; None is unbounded."""

    lower: datetime | None
    upper: datetime | None


def read_upper(text: str, kind: Kind) -> datetime | None:
    """MySQL's ``VALUES LESS THAN``; None for MAXVALUE. Errors: ``NotUnderstood``."""
    if text.strip("()").upper() == "MAXVALUE":
        return None
    readers: dict[Kind, Callable[[str], datetime]] = {
        "year and month": _of_year_and_month,
        "day number": lambda number: datetime.combine(date.fromordinal(int(number) - _DAY_ZERO), time()),
        "epoch": lambda seconds: datetime.fromtimestamp(int(seconds), UTC),
        "day": datetime.fromisoformat,
        "wall clock": datetime.fromisoformat,
    }
    try:
        return readers[kind](text.strip("'"))
    except (ValueError, OverflowError, KeyError) as error:
        raise NotUnderstood(f"a partition ends at {text}, which is not a valid {kind}") from error


def read_range(text: str, kind: Kind) -> Range | None:
    """PostgreSQL's partition bound, printed for a session in UTC; None for DEFAULT. Errors: ``NotUnderstood``."""
    if text == "DEFAULT":
        return None
    if not (found := _POSTGRES_BOUND.fullmatch(text)):
        raise NotUnderstood(f"a partition has the bound {text}")
    lower, upper = found.groups()
    try:
        return Range(
            None if lower in _NO_LOWER else _moment(lower, kind), None if upper in _NO_UPPER else _moment(upper, kind)
        )
    except ValueError as error:
        raise NotUnderstood(f"a partition has the bound {text}") from error


def write_bound(moment: datetime, kind: Kind) -> str:
    """What stands in a statement for ``moment``: a number, or text in quotes. Fit for both engines."""
    if kind == "year and month":
        return str(moment.year * 100 + moment.month)
    if kind == "day number":
        return str(moment.toordinal() + _DAY_ZERO)
    if kind == "epoch":
        return str(int(moment.timestamp()))
    if kind == "day":
        return f"'{moment:%Y-%m-%d}'"
    if kind == "wall clock":
        return f"'{moment:%Y-%m-%d %H:%M:%S}'"
    return f"'{moment:%Y-%m-%d %H:%M:%S}+00'"


# Months.


@dataclass(frozen=True)
class Months:
    """Where the months of a table begin: ``zone`` is None for days and wall clocks."""

    zone: ZoneInfo | None

    @classmethod
    def of(cls, kind: Kind, timezone: str, edges: Iterable[datetime]) -> Months:
        """The site's months; but where the table's own newest edge is a month's beginning in UTC and not in the site's
        zone, whoever made the table meant UTC, and goes on with it.
        """
        if kind not in ("instant", "epoch"):
            return cls(None)
        site, utc = cls(ZoneInfo(timezone)), cls(ZoneInfo("UTC"))
        newest = max(edges, default=None)
        return utc if newest and not site.is_edge(newest) and utc.is_edge(newest) else site

    def start(self, year: int, month: int) -> datetime:
        """The first moment of a month; the month may lie outside of 1 to 12."""
        first = date(year + (month - 1) // 12, (month - 1) % 12 + 1, 1)
        local = datetime.combine(first, time(), self.zone)
        return local.astimezone(UTC) if self.zone else local

    def containing(self, moment: datetime) -> tuple[int, int]:
        local = moment.astimezone(self.zone) if self.zone else moment
        return local.year, local.month

    def is_edge(self, moment: datetime) -> bool:
        return self.start(*self.containing(moment)) == moment

    def now(self, now: datetime, timezone: str) -> datetime:
        """The present as this table's moments say it."""
        return now.astimezone(UTC) if self.zone else now.astimezone(ZoneInfo(timezone)).replace(tzinfo=None)

    def instant(self, moment: datetime, timezone: str) -> datetime:
        """When it is ``moment`` at the site, in UTC."""
        return moment if self.zone else moment.replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC)

    def ranges(self, first: tuple[int, int], count: int) -> Iterator[tuple[tuple[int, int], datetime, datetime]]:
        """``count`` months from ``first`` on: which one, its first moment, and the first moment after it."""
        year, month = first
        for step in range(count):
            ordinal = year * 12 + month - 1 + step
            which = (ordinal // 12, ordinal % 12 + 1)
            yield which, self.start(*which), self.start(which[0], which[1] + 1)


def _of_year_and_month(text: str) -> datetime:
    """202412 -> 2024-12-01; both 202413 and 202500 come before every value of January 2025."""
    year, month = divmod(int(text), 100)
    if month > 12:
        year, month = year + 1, 1
    return datetime(year, max(1, month), 1)  # noqa: DTZ001 - a day, not an instant


def _moment(text: str, kind: Kind) -> datetime:
    if not (text.startswith("'") and text.endswith("'")):
        raise ValueError(text)
    moment = datetime.fromisoformat(text.strip("'"))
    if (moment.tzinfo is not None) != (kind == "instant"):
        raise ValueError(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment
