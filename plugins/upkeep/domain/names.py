"""Names of what a database holds: as people write them, and as a statement takes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Named:
    """:param engine: ``mysql`` or ``postgres``.
    :param place: the parts of its full name: schema and name on PostgreSQL, the name alone on MySQL.
    """

    engine: str
    place: tuple[str, ...]

    @property
    def label(self) -> str:
        return ".".join(self.place)

    @property
    def quoted(self) -> str:
        return quoted(self.engine, *self.place)


def quoted(engine: str, *names: str) -> str:
    """A name, or one qualified by others, as an identifier of SQL."""
    mark = "`" if engine == "mysql" else '"'
    return ".".join(mark + name.replace(mark, mark * 2) + mark for name in names)
