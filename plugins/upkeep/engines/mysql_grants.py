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
_WANTED = re.compile(r"^GRANT (?P<what>.*?) ON (?P<where>.*) TO ", re.S)
_NEVER_LISTED = frozenset({"PROXY", "USAGE", "GRANT OPTION"})
_HANDED_ON = " WITH GRANT OPTION"
_PLACE = re.compile(r"^`(?P<database>(?:[^`]|``)*)`\.")


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


def lacks(grants: Iterable[str], statement: str, known: Iterable[str]) -> bool:
    """Whether an account with these grants needs ``statement`` (GRANT ... ON ... TO ...) as well.

    ``known``: the privileges that the server has, in capitals; those that it hasn't nobody needs.
    """
    wanted = _WANTED.match(statement)
    if not wanted:
        raise ValueError(f"no GRANT of privileges: {statement}")
    grants = list(grants)
    held = [
        (privilege, match["where"])
        for grant in grants
        if (match := _GRANT.match(grant))
        for privilege in (["ALL"] if match["what"] == "ALL PRIVILEGES" else _privileges(match["what"]))
    ]
    there = set(known)
    needed = set(wanted["what"].split(", ")) & there
    if wanted["what"] == "ALL":  # dynamic ones, whose names have underscores, are of no use to a restore
        needed = {privilege for privilege in there - _NEVER_LISTED if "_" not in privilege}
    where = wanted["where"] if "`" in wanted["where"] or wanted["where"] == "*.*" else _quoted(wanted["where"])
    if statement.endswith(_HANDED_ON) and not any(
        grant.endswith(_HANDED_ON) and (match := _GRANT.match(grant)) and _covers(match["where"], where)
        for grant in grants
    ):
        return True
    return any(
        not any(has in (privilege, "ALL") and _covers(place, where) for has, place in held) for privilege in needed
    )


def _quoted(where: str) -> str:
    """``mysql.user`` as SHOW GRANTS writes it."""
    database, _, table = where.partition(".")
    return f"`{database}`.{table if table == '*' else f'`{table}`'}"


def _covers(place: str, where: str) -> bool:
    """Whether what is held at ``place`` holds at ``where``; both as SHOW GRANTS writes them."""
    if place in ("*.*", where):
        return True
    found = _PLACE.match(where)
    return found is not None and place.endswith(".*") and _matches(place, str(found["database"]).replace("``", "`"))


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
    return covers_database(where, database, any_case=True)


def covers_database(where: str, database: str, *, any_case: bool) -> bool:
    r"""Whether `` `pattern`.* `` takes in the database: ``%`` and ``_`` are wildcards there unless escaped by ``\``."""
    pattern = where[1:-3].replace("``", "`")
    parts = re.split(r"(\\.|%|_)", pattern)
    translated = {"%": ".*", "_": "."}
    regex = "".join(translated.get(part, re.escape(part[1:] if part.startswith("\\") else part)) for part in parts)
    return re.fullmatch(regex, database, re.S | re.I if any_case else re.S) is not None
