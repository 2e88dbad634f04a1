"""What an account of MySQL or MariaDB can't see of a database.

The server doesn't refuse to list what an account may not see, it leaves it out: mysqldump then ends well, with a dump
that lacks triggers, routines or whole tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

_GRANT = re.compile(
    r"^GRANT (?P<what>.*?) ON (?:TABLE )?(?P<where>\*\.\*|`(?:[^`]|``)*`\.(?:\*|`(?:[^`]|``)*`)) TO ", re.S
)


def blind_spots(grants: Iterable[str], database: str, flavour: str) -> list[str]:
    """One warning for each kind of object that may be missing from a dump of ``database``; ``grants``: SHOW GRANTS."""
    held = list(_held(grants, database))
    return [
        f"the account may not see {objects}, so the dump may lack some: {remedy}"
        for objects, needs, remedy in (
            ("every table", ("SELECT",), "grant SELECT on the database"),
            ("triggers", ("TRIGGER",), "grant TRIGGER on the database"),
            ("every routine", *_for_routines(flavour)),
        )
        if not any(need in held for need in needs)
    ]


def _for_routines(flavour: str) -> tuple[Sequence[str], str]:
    if flavour == "mariadb":
        return ("SHOW CREATE ROUTINE", "SELECT ON *.*", "SELECT ON mysql.proc"), "grant SELECT on mysql.proc"
    return ("SHOW_ROUTINE ON *.*", "SELECT ON *.*", "SELECT ON mysql.proc"), "grant SHOW_ROUTINE"


def _held(grants: Iterable[str], database: str) -> Iterator[str]:
    """Privileges that hold for all of ``database``, as ``SELECT``; those for elsewhere with their place."""
    for grant in grants:
        match = _GRANT.match(grant)
        if not match:
            continue
        where = match["where"].replace("`", "")
        for privilege in _privileges(match["what"]):
            yield f"{privilege} ON {where}"
            if where == "*.*" or (where.endswith(".*") and _matches(match["where"], database)):
                yield privilege


def _privileges(text: str) -> list[str]:
    if text == "ALL PRIVILEGES":
        return ["SELECT", "TRIGGER", "SHOW_ROUTINE", "SHOW CREATE ROUTINE"]
    return [part.strip() for part in re.sub(r"\([^)]*\)", " (columns)", text).split(",")]


def _matches(where: str, database: str) -> bool:
    r"""Whether `` `pattern`.* `` takes in the database: ``%`` and ``_`` are wildcards there unless escaped by ``\``."""
    pattern = where[1:-3].replace("``", "`")
    parts = re.split(r"(\\.|%|_)", pattern)
    translated = {"%": ".*", "_": "."}
    regex = "".join(translated.get(part, re.escape(part[1:] if part.startswith("\\") else part)) for part in parts)
    return re.fullmatch(regex, database, re.S | re.I) is not None
