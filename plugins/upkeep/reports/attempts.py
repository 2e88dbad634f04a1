"""The ledger's acts as a report reads them: tolerant of anything a row may hold, and fit to be shown.

Names of tables, errors of servers and reasons of people come from outside. What is invisible in them, or would act on a
terminal or on the direction of the text around it, is made visible here, once; each page then escapes what is special
to its own format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal

from upkeep.domain.backup import is_backup_id
from upkeep.domain.units import cut
from upkeep.ledger import Record

State = Literal["done", "failed", "skipped", "running", "died"]

_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad"  # control characters, escape sequences of terminals
    r"\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff"  # directions, joints, separators
    r"\ud800-\udfff\ufff9-\ufffb]"  # halves that no UTF-8 can hold, annotations
)
_BACKUP_ID = re.compile(r"\b[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}\b")
_ERROR = re.compile(r"(?P<module>(?:[A-Za-z_]\w*\.)*)(?P<kind>[A-Za-z_]\w*)(?:: (?P<said>.*))?", re.DOTALL)
_OWN = "upkeep."
_HINT = "\nHINT: "
_OUTCOME_CHARS = 300


@dataclass(frozen=True)
class Trouble:
    """An error taken apart. ``hint`` is empty where the error gave none: it isn't one that Upkeep raised on purpose."""

    kind: str
    why: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One act. Several of one duty on one thing in one run are retries; the last one counts."""

    duty: str
    target: str
    command: str
    backup_id: str
    """The backup it is about; empty where it is about none."""
    state: State
    task_id: str
    try_number: int
    host: str
    actor: str
    trigger: str
    approver: str
    config_hash: str
    started_at: datetime | None
    ended_at: datetime | None
    rows: int | None
    size: int | None
    trouble: Trouble | None
    detail: Mapping[str, Any]
    zone: tzinfo = UTC
    """In which its moments are told; they themselves stay in UTC, in which they can be compared."""

    def began(self, form: str) -> str:
        """When, by the clock of ``zone``; empty where the ledger's row doesn't say."""
        return f"{self.started_at.astimezone(self.zone):{form}}" if self.started_at else ""

    def text(self, name: str) -> str:
        value = self.detail.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.detail.get(name)
        return tuple(str(item) for item in value) if isinstance(value, list) else ()

    def number(self, name: str) -> float | None:
        value = self.detail.get(name)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def mappings(self, name: str) -> tuple[Mapping[str, Any], ...]:
        value = self.detail.get(name)
        return tuple(item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self.detail.get(name)
        return value if isinstance(value, dict) else {}

    @property
    def failed_as(self) -> str:
        """The name of its error's class; empty when it didn't fail."""
        return self.trouble.kind if self.trouble else ""

    @property
    def outcome(self) -> str:
        """How it ended, in one line."""
        match self.state:
            case "died":
                return f"was killed on {self.host}"
            case "running":
                return "still runs"
            case "skipped":
                return f"was skipped: {self.text('reason') or 'it gives no reason'}"
            case "failed":
                return f"failed: {one_line(self.trouble.why, _OUTCOME_CHARS) if self.trouble else 'it gives no error'}"
            case _:
                return one_line(visible(self.text("summary")), _OUTCOME_CHARS) or "done"


def read_attempts(records: Iterable[Record], zone: tzinfo = UTC) -> list[Attempt]:
    return [_attempt(record, zone) for record in records]


def visible(text: str) -> str:
    r"""Write what can't be seen as an escape, such as ``\u202e``; line feeds and tabs stay."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str, limit: int | None = None) -> str:
    """On one line, and cut with an ellipsis when it is longer than ``limit``."""
    joined = " ".join(text.split())
    return joined if limit is None else cut(joined, limit)


def take_apart(error: str) -> Trouble:
    """From what the ledger keeps of an exception: its qualified name, its text, ``HINT:``, and notes below."""
    parts = _ERROR.fullmatch(error.strip())
    if parts is None:
        return Trouble("", error.strip() or "it gives no error")
    kind, said = parts["kind"], (parts["said"] or "").strip()
    said, _, rest = said.partition(_HINT)
    hint, _, notes = rest.partition("\n")
    why = "\n".join(filter(None, (said, notes.strip()))) or kind
    if why != kind and not parts["module"].startswith(_OWN):
        why = f"{kind}: {why}"  # with others' errors the name is half of the message
    return Trouble(kind, why, hint.strip())


def _attempt(record: Record, zone: tzinfo) -> Attempt:
    started, finished = record.started, record.finished
    state: State = record.state if record.state in ("done", "skipped", "running", "died") else "failed"
    detail = _detail(record)
    return Attempt(
        duty=visible(started.duty),
        target=visible(started.target),
        command=visible(started.command),
        backup_id=_backup_id(detail, started.command),
        state=state,
        task_id=visible(started.task_id),
        try_number=started.try_number,
        host=visible(started.host),
        actor=visible(started.actor),
        trigger=visible(started.trigger),
        approver=visible(started.approver),
        config_hash=visible(started.config_hash),
        started_at=_moment(started.at),
        ended_at=_moment(finished.at) if finished else None,
        rows=finished.rows if finished else None,
        size=finished.bytes if finished else None,
        trouble=take_apart(visible(finished.error or "")) if finished and state == "failed" else None,
        detail=detail,
        zone=zone,
    )


def _detail(record: Record) -> Mapping[str, Any]:
    """A detail that a forger broke is an empty one here; ``upkeep ledger verify`` is what finds it."""
    try:
        detail = _seen(record.detail)
    except ValueError:
        return {}
    return detail if isinstance(detail, dict) else {}


def _seen(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(key): _seen(item) for key, item in value.items()}
    return [_seen(item) for item in value] if isinstance(value, list) else value


def _backup_id(detail: Mapping[str, Any], command: str) -> str:
    """A died act has no detail, but its command named the backup before it began."""
    noted = detail.get("backup_id")
    found = _BACKUP_ID.findall(noted if isinstance(noted, str) else command)
    return next((backup_id for backup_id in found if is_backup_id(backup_id)), "")


def _moment(stamp: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def last_of(attempts: Sequence[Attempt]) -> Attempt | None:
    return attempts[-1] if attempts else None


def last_of_each(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Of several tries at one thing the last."""
    return list({(attempt.duty, attempt.target, _thing(attempt)): attempt for attempt in attempts}.values())


def _thing(attempt: Attempt) -> str:
    """Its command without what each try names anew: a backup, and the database that a swap puts aside."""
    return "" if attempt.duty == "back_up" else attempt.command.partition(", which stays as ")[0]


def last_by_backup(attempts: Iterable[Attempt], *duties: str) -> dict[str, Attempt]:
    """For each backup the last attempt at one of ``duties``; in the order in which the backups first came up."""
    return {attempt.backup_id: attempt for attempt in attempts if attempt.duty in duties}
