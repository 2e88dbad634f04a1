"""Takes the secondary indexes and foreign keys out of a CREATE TABLE, to be made once the rows are there.

Keeping an index up to date row by row reads and writes a random page for each row as soon as the index outgrows the
buffer pool; making it afterwards sorts once. Nothing is guessed: mysqldump writes one definition a line, and a table
with any line that isn't understood here stays whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NAME = rb"`(?:[^`\n]|``)+`"
_PART = _NAME + rb"(?:\(\d+\))?(?: (?:ASC|DESC))?"
_PARTS = rb"\((?P<parts>" + _PART + rb"(?:," + _PART + rb")*)\)"
_NAMES = rb"\(" + _NAME + rb"(?:," + _NAME + rb")*\)"
_TEXT = rb"'(?:[^'\\\n]|''|\\.)*'"
_TRAITS = rb"(?: USING BTREE)?(?: COMMENT " + _TEXT + rb")?(?: /\*!80000 INVISIBLE \*/)?"
_ACTION = rb"(?: ON (?:DELETE|UPDATE) (?:CASCADE|SET NULL|SET DEFAULT|RESTRICT|NO ACTION))"

_TABLE = re.compile(rb"CREATE TABLE (?P<name>" + _NAME + rb") \(\n")
_COLUMN = re.compile(rb"  (?P<name>" + _NAME + rb") [^\n]+")
_PRIMARY = re.compile(rb"  PRIMARY KEY " + _PARTS + _TRAITS)
_KEY = re.compile(rb"  (?P<unique>UNIQUE )?KEY " + _NAME + rb" " + _PARTS + _TRAITS)
_FOREIGN = re.compile(
    rb"  CONSTRAINT "
    + _NAME
    + rb" FOREIGN KEY "
    + _NAMES
    + rb" REFERENCES "
    + _NAME
    + rb" "
    + _NAMES
    + _ACTION
    + rb"{0,2}"
)
_CHECK = re.compile(rb"  CONSTRAINT " + _NAME + rb" CHECK \([^\n]+\)(?: /\*!80016 NOT ENFORCED \*/)?")
_END = re.compile(
    rb"\) ENGINE=InnoDB(?: (?:(?:AUTO_INCREMENT|AVG_ROW_LENGTH|MIN_ROWS|MAX_ROWS|STATS_PERSISTENT|STATS_AUTO_RECALC"
    rb"|STATS_SAMPLE_PAGES|CHECKSUM|ROW_FORMAT|DEFAULT CHARSET|COLLATE)=\w+|COMMENT=" + _TEXT + rb"))*;?\n"
)
"""Without the semicolon the partitions follow, on lines of their own, which stay as they are."""


@dataclass(frozen=True)
class Later:
    """What is added to table ``name`` (quoted, as all that follows) after its rows."""

    name: bytes
    indexes: tuple[bytes, ...]
    foreign_keys: tuple[bytes, ...]

    def statement(self, definitions: Sequence[bytes]) -> bytes:
        return b"ALTER TABLE " + self.name + b" " + b", ".join(b"ADD " + each for each in definitions)


def split_definition(lines: Sequence[bytes]) -> tuple[bytes, Later | None]:
    """A CREATE TABLE to run before the rows, and what is left for later.

    What the rows need stays: the key of an AUTO_INCREMENT column, and, where no primary key orders the rows, the unique
    keys, one of which does.
    """
    whole = b"".join(lines)
    head = _TABLE.fullmatch(lines[0])
    if not head or not _END.fullmatch(lines[-1]):
        return whole, None
    definitions = [line.removesuffix(b"\n").removesuffix(b",") for line in lines[1:-1]]
    primary = next((found for each in definitions if (found := _PRIMARY.fullmatch(each))), None)
    counter: bytes | None = None
    stays, indexes, foreign_keys = [], [], []
    for each in definitions:
        if column := _COLUMN.fullmatch(each):
            stays.append(each)
            counter = column["name"] if b"AUTO_INCREMENT" in each else counter
        elif key := _KEY.fullmatch(each):
            counts = counter is not None and _first(key) == counter and not (primary and _first(primary) == counter)
            if counts or (key["unique"] and not primary):
                counter = None if counts else counter
                stays.append(each)
            else:
                indexes.append(each.lstrip())
        elif _FOREIGN.fullmatch(each):
            foreign_keys.append(each.lstrip())
        elif _PRIMARY.fullmatch(each) or _CHECK.fullmatch(each):
            stays.append(each)
        else:
            return whole, None
    if not indexes and not foreign_keys:
        return whole, None
    create = lines[0] + b",\n".join(stays) + b"\n" + lines[-1]
    return create, Later(head["name"], tuple(indexes), tuple(foreign_keys))


def _first(key: re.Match[bytes]) -> bytes:
    """The quoted name of an index's first column, as far as it is indexed whole."""
    found = re.match(_NAME, key["parts"])
    return found[0] if found else b""
