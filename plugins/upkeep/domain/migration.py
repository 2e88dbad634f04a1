"""A migration before it runs: what stands when one of its statements fails, and what must be true after it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from upkeep.domain.copy_comparison import SINGULAR
from upkeep.domain.sql_statements import Statement, is_whole, read_statements
from upkeep.domain.units import counted, human_seconds
from upkeep.errors import MigrationRefused

OnFailure = Literal["rollback", "restore", "stop"]
ON_FAILURE: tuple[OnFailure, ...] = ("rollback", "restore", "stop")
LIMIT_FACTOR = 5
LEAST_LIMIT_S = 30.0
"""A statement may take so many times what it took in the rehearsal, never less than this: live has other work too."""
SPARE_ROWS, SPARE_SHARE = 10, 0.05
"""How many rows fewer than rehearsed are laid to applications that go on deleting."""
MOST_TOLD = 10
SHAPES = ("tables", "indexes", "constraints")
"""What is compared of live with the copy. Others are made in the name of the account that makes them."""


@dataclass(frozen=True)
class MigrationPlan:
    """What would run, and what would stand if it failed half-way. ``lines`` are for people."""

    engine: str
    statements: tuple[Statement, ...]
    rollback: tuple[Statement, ...]
    on_failure: OnFailure
    digest: str
    """SHA-256 of the migration's text, and ``rollback_digest`` of the rollback's; empty without one."""
    rollback_digest: str
    remarks: tuple[str, ...] = ()
    source: str = ""
    """Where the text is from, for people."""

    @property
    def whole(self) -> bool:
        """Whether all of it is one transaction: it takes effect as a whole, or not at all."""
        return is_whole(self.statements)

    @property
    def is_command(self) -> bool:
        return any(statement.argv for statement in self.statements)

    def lines(self) -> Iterator[str]:
        source = f" from {self.source}" if self.source else ""
        yield f"{counted(len(self.statements), 'statement')}{source}, SHA-256 {self.digest}"
        # First what a long text must not push out of sight.
        yield f"on failure: {_ON_FAILURE_WORDS[self.on_failure]}"
        yield from (f"note: {line}" for line in (*self._consequences(), *self.remarks))
        for statement in self.statements:
            alone = " [commits by itself]" if statement.by_itself else ""
            yield f"  {statement.number}. {statement.verb}{alone}: {statement.shown}"
        if self.rollback:
            yield f"rollback script: {counted(len(self.rollback), 'statement')}, SHA-256 {self.rollback_digest}"
            yield from (f"  {statement.number}. {statement.shown}" for statement in self.rollback)
        else:
            yield "rollback script: none"

    def _consequences(self) -> Iterator[str]:
        if self.whole:
            yield "it runs in one transaction: if any statement fails, nothing of it stands"
            if self.engine == "mysql":
                yield "tables of engines without transactions, MyISAM say, keep what was done to them all the same"
            return
        if self.is_command:
            yield "it is a program: nobody knows beforehand what of it stands when it fails"
            return
        alone = [str(statement.number) for statement in self.statements if statement.by_itself]
        which = f"statement {alone[0]} commits by itself"
        if len(alone) > 1:
            which = f"statements {', '.join(alone)} commit by themselves"
        why = "MySQL's DDL is not transactional" if self.engine == "mysql" else "PostgreSQL allows no transaction there"
        yield f"{which} ({why}): there is no transaction around the whole, each statement is one of its own"
        for done in range(1, min(len(self.statements), MOST_TOLD)):
            stand = "statement 1 stands" if done == 1 else f"statements 1 to {done} stand"
            yield f"if statement {done + 1} fails, {stand}, and only a rollback script or a restore takes that back"
        if len(self.statements) > MOST_TOLD:
            yield "and so on: each statement before the one that fails stands"


_ON_FAILURE_WORDS = {
    "rollback": "rollback: run the rehearsed rollback script",
    "restore": "restore: the backup made right before it takes the live database's place; what applications wrote "
    "since is only in the one that is put aside",
    "stop": "stop: leave it as it is, and say what ran",
}


def command_text(argv: Sequence[str], label: str) -> str:
    """What stands for a command in place of SQL: what it is known and recognised by."""
    return json.dumps({"command": list(argv), "label": label}, ensure_ascii=False, sort_keys=True)


def plan_of(
    engine: str,
    text: str,
    *,
    rollback: str,
    on_failure: OnFailure,
    remarks: tuple[str, ...] = (),
    argv: Sequence[str] = (),
    source: str = "",
) -> MigrationPlan:
    """``argv``: of a command; ``text`` is its ``command_text`` then.

    Errors: ``MigrationRefused`` for what can't be rehearsed, cut, or taken back as chosen.
    """
    if argv:
        statements: tuple[Statement, ...] = (Statement(1, text, text, True, tuple(argv)),)
    else:
        statements = read_statements(engine, text, "the migration")
    back = read_statements(engine, rollback, "the rollback script") if rollback.strip() else ()
    if on_failure == "rollback" and not back:
        raise MigrationRefused(
            "on failure the rollback script is to run, but there is none",
            hint="give a rollback script, or choose restore or stop",
        )
    return MigrationPlan(
        engine, statements, back, on_failure, digest_of(text), digest_of(rollback) if back else "", remarks, source
    )


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def limit_s(rehearsed_s: float) -> float:
    """How long a statement may take on live, in seconds, by what it took in the rehearsal."""
    return max(LEAST_LIMIT_S, LIMIT_FACTOR * rehearsed_s)


def tables_changed(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, tuple[int | None, int | None]]:
    """Rows before and after, of the tables where they differ; None: there is none."""
    names = sorted({*before, *after})
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def shapes_changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What a migration made, changed or dropped (None), by the catalogues of the copy: definitions by kind and name."""
    changed: dict[str, Any] = {"release": after.get("release")}
    for kind in SHAPES:
        was, now = before.get(kind, {}), after.get(kind, {})
        names = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))
        changed[kind] = {name: now.get(name) for name in names}
    return changed


def otherwise_shaped(rehearsed: Mapping[str, Any] | None, live: Mapping[str, Any]) -> list[str]:
    """What of that came out otherwise on live: an IF NOT EXISTS that met something else there, say."""
    if not rehearsed or rehearsed.get("release") != live.get("release"):
        return []
    unlike = []
    for kind in SHAPES:
        now = live.get(kind, {})
        for name, definition in rehearsed.get(kind, {}).items():
            if now.get(name) != definition:
                unlike.append(f"{SINGULAR.get(kind, kind.removesuffix('s'))} {name}")
    return unlike


def rows_missed(
    rehearsed: Mapping[str, tuple[int | None, int | None]],
    before: Mapping[str, int | None],
    after: Mapping[str, int | None],
) -> list[str]:
    """Where the live database came out of the migration otherwise than the copy did, to its loss.

    :param rehearsed: as ``tables_changed`` found it on the copy.
    :param before: rows of the live tables, and ``after`` the migration; None where they were not counted in time.
    """
    missed = []
    for name in sorted({*before, *rehearsed}):
        had, has = before.get(name), after.get(name)
        was, became = rehearsed.get(name, (had, had))
        if name in rehearsed and became is None:
            if name in after:
                missed.append(f"table {name} is still there; in the rehearsal it went")
            continue
        if name not in after:
            missed.append(f"table {name} is gone" if name in before else f"table {name} was not made")
            continue
        if had is not None and has is not None and was is not None and became is not None:
            # As many rows more or fewer as on the copy, or the same share: both have to miss rows to call it a loss.
            as_many = max(0, had + became - was)
            expected = min(as_many, had * became / was) if was else as_many
            spare = max(SPARE_ROWS, SPARE_SHARE * max(had, expected))
            if has < expected - spare:
                missed.append(
                    f"table {name} has {has:,} rows, it had {had:,}; by the rehearsal ({was:,} to "
                    f"{became:,}) it should have at least about {expected:,.0f}"
                )
    return missed


def stands(count: int, of: int) -> str:
    """What a failure half-way left, in words."""
    if not count:
        return "nothing of it stands"
    if count == of:
        return f"all {of} statements ran"
    return f"statement 1 of {of} ran" if count == 1 else f"statements 1 to {count} of {of} ran"


def rehearsal_lines(
    plan: MigrationPlan, ran: list[tuple[float, int, str]], changed: Mapping[str, tuple[int | None, int | None]]
) -> Iterator[str]:
    """``ran``: seconds, rows and locks of each statement, in their order."""
    for statement, (seconds, rows, how) in zip(plan.statements, ran, strict=True):
        touched = f", {rows:,} rows" if rows > 0 else ""
        limit = f"; live it may take {human_seconds(limit_s(seconds))}"
        yield f"statement {statement.number} {statement.verb}: {human_seconds(seconds)}{touched}{limit}; {how}"
    for name, (before, after) in changed.items():
        yield f"table {name}: {_rows(before)} before, {_rows(after)} after"
    if not changed:
        yield "row counts: as before in every table"


def _rows(count: int | None) -> str:
    return "none" if count is None else f"{count:,} rows"


def within(lines: Iterable[str], chars: int) -> list[str]:
    """As many of the first lines as that many characters hold; those that are left out are counted."""
    kept: list[str] = []
    for line in (all_lines := list(lines)):
        chars -= len(line)
        if chars < 0:
            return [*kept, f"and {len(all_lines) - len(kept)} more lines that are not shown: read the text itself"]
        kept.append(line)
    return kept
