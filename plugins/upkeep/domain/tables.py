"""A table as the server describes it, for those who move its rows: a purge, an archive, a restore of archived rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from upkeep.domain.names import Named

Meaning = Literal["instant", "wall clock", "date", "other"]
Form = Literal["text", "base64", "number", "none"]
"""How a column's value is written in an archive; ``none``: there is no exact way."""


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    """As the server declares it."""
    meaning: Meaning
    form: Form = "text"
    nullable: bool = True
    generated: bool = False


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key of another table that refers to ours."""

    name: str
    table: str
    """The table it belongs to, as people write it."""
    columns: tuple[str, ...]
    on_delete: str
    """In the words of SQL: CASCADE, SET NULL, SET DEFAULT, RESTRICT, NO ACTION."""
    indexed: bool = True
    """Whether finding the rows that refer to one of ours takes an index; without one, each delete reads that table."""
    permitted: bool = True
    """Whether the account has rights on the table it belongs to; InnoDB changes its rows without asking for any."""


@dataclass(frozen=True)
class Table(Named):
    """A table as the server describes it.

    :param indexes: names of the usable indexes by their first column, the narrowest first.
    :param spared: the primary key of a row that has to stay (see ``purge.counts_from_its_rows``).
    """

    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    indexes: Mapping[str, tuple[str, ...]]
    foreign_keys: tuple[ForeignKey, ...] = ()
    kind: str = "table"
    storage: str = ""
    transactional: bool = True
    partitioned: bool = False
    delete_triggers: tuple[str, ...] = ()
    spared: tuple[object, ...] | None = None
    notes: tuple[str, ...] = ()

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)

    @property
    def kept_columns(self) -> tuple[Column, ...]:
        """The columns that an archive holds: generated ones are computed anew."""
        return tuple(column for column in self.columns if not column.generated)
