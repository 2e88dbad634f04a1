"""A span of a site's ledger as evidence, gathered from its rows one at a time.

Nothing is asked of the store or of a server: what is told here stays true when backups have long been removed. What is
kept grows with the backups, failures and changes that the page lists, not with the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from upkeep.domain.backup import is_backup_id, taken_at
from upkeep.domain.evidence import FailedProof, Proof, Removed, Span, TakenBackup, good_after
from upkeep.domain.missed import FinishedRun
from upkeep.domain.proof import ProofLevel
from upkeep.ledger import Record, Row
from upkeep.reports.attempts import Attempt, one_line, read_attempts, visible
from upkeep.reports.evidence import Change, Drill, Evidence, Exemption, Failure, Removal, Tally
from upkeep.reports.judge_target import holds_of
from upkeep.reports.migration_section import MIGRATION_DUTIES
from upkeep.reports.restore_section import RESTORE_DUTIES
from upkeep.reports.rollout_section import ROLLOUT_DUTIES
from upkeep.reports.week_sections import compared_words

SAYS_CHARS = 400
MOST_ALTERED = 1000
SITE_WIDE = ("drill", "guard_window")
"""Duties that concern every target, whatever one is asked about."""

_BAD = ("ProofFailed", "ManifestBroken")
_OF_ONE_BACKUP = ("verify", "prove", "rebuild", "forget", "ship")
_CHANGES = frozenset({*RESTORE_DUTIES, *MIGRATION_DUTIES, *ROLLOUT_DUTIES} - {"check_gates", "migrate_statement"})
_NO_FINISH = "it has no finish: it was killed, or still runs, or its last row was altered"
_LEVELS = {level.label: level for level in ProofLevel}


@dataclass(slots=True)
class _Open:
    row: Row
    settled_at: str = ""
    settled_seq: int = 0


class EvidenceReader:
    """Takes the site's rows in the order of its chain (``upkeep.ledger.verify(each=...)``); then ``told`` is asked."""

    def __init__(self, span: Span, *, fingerprint: str, target: str | None = None) -> None:
        self._span, self._fingerprint, self._target = span, fingerprint, target
        # As the ledger writes them: text of the same length, so that text compares as time.
        self._from, self._to = (moment.isoformat(timespec="microseconds") for moment in (span.start, span.end))
        self.begins_at: datetime | None = None
        self.in_force_since: datetime | None = None
        """The first row under the site file that is in force now."""
        self.first_seen: dict[str, datetime] = {}
        """By target, its first row."""
        self.acts_within = 0
        self._backups: dict[tuple[str, str], TakenBackup] = {}
        self._tries: dict[str, list[tuple[datetime, TakenBackup | None]]] = {}
        self._open: dict[str, _Open] = {}
        self._open_of: dict[tuple[str, ...], dict[str, _Open]] = {}
        self._series: dict[tuple[str, ...], dict[str, Failure]] = {}
        self._fingerprints: Counter[str] = Counter()
        self._altered: list[int] = []
        self._failures: list[Failure] = []
        self._removals: list[Removal] = []
        self._changes: list[Change] = []
        self._drills: list[Drill] = []
        self._exemptions: list[Exemption] = []
        self._duties: dict[str, Tally] = {}
        self._tell: dict[str, Callable[[Attempt, Row, bool], None]] = {
            "back_up": self._made,
            "ship": self._shipped,
            "verify": self._verified,
            "prove": self._restored,
            "rebuild": self._rebuilt,
            "drill": self._drilled,
            "forget": self._removed,
            "guard_window": self._guarded,
            "pin": self._pinned,
            "unpin": self._pinned,
        }

    def take(self, row: Row, whole: bool) -> None:
        """``whole``: its contents match its hash; of any other row nothing is believed."""
        if not whole:
            if len(self._altered) < MOST_ALTERED:
                self._altered.append(row.seq)
            return
        if row.event == "started":
            self._begun(row)
        elif begun := self._open.pop(row.act_id, None):
            key = _key(begun.row)
            self._open_of[key].pop(row.act_id)
            self._ended(Record(begun.row, row, False), row, key)

    def _begun(self, row: Row) -> None:
        if self.begins_at is None:
            self.begins_at = _moment(row.at)
        if self.in_force_since is None and row.config_hash == self._fingerprint:
            self.in_force_since = _moment(row.at)
        if row.target not in self.first_seen and (moment := _moment(row.at)):
            self.first_seen[row.target] = moment
        if self._concerns(row):
            begun = self._open[row.act_id] = _Open(row)
            self._open_of.setdefault(_key(row), {})[row.act_id] = begun

    def _concerns(self, row: Row) -> bool:
        target = self._target
        return target is None or row.duty in SITE_WIDE or row.target == target or row.target.startswith(f"{target}/")

    def _within(self, row: Row) -> bool:
        return self._from <= row.at < self._to

    def _ended(self, record: Record, row: Row, key: tuple[str, ...]) -> None:
        started = record.started
        within = self._within(started)
        if within:
            self._count(started, row)
        if row.result == "done":
            self._settle(key, row, started.seq)
            if started.duty not in self._tell and started.duty not in _CHANGES:
                return
        (attempt,) = read_attempts([record])
        self._heed(attempt, row, within)
        if within and attempt.state == "failed":
            self._fail(attempt, row, key)

    def _heed(self, attempt: Attempt, row: Row, within: bool) -> None:
        if tell := self._tell.get(attempt.duty):
            tell(attempt, row, within)
        if within and attempt.duty in _CHANGES:
            self._changed(attempt, row)

    def _count(self, started: Row, finished: Row | None) -> None:
        self.acts_within += 1
        self._fingerprints[visible(started.config_hash)] += 1
        tally = self._duties.setdefault(visible(started.duty), Tally())
        match finished.result if finished else None:
            case "done":
                tally.done += 1
            case "skipped":
                tally.skipped += 1
            case None:
                tally.unfinished += 1
            case _:
                tally.failed += 1
        tally.rows += (finished and finished.rows) or 0
        tally.bytes += (finished and finished.bytes) or 0

    def _settle(self, key: tuple[str, ...], row: Row, begun: int) -> None:
        """An act that is done is what followed the failures before it, and those before it that have no finish."""
        for failure in self._series.pop(key, {}).values():
            failure.settled_at, failure.settled_seq = _moment(row.at), row.seq
        for other in self._open_of.get(key, {}).values():
            if not other.settled_seq and other.row.seq < begun:
                other.settled_at, other.settled_seq = row.at, row.seq

    def _fail(self, attempt: Attempt, row: Row, key: tuple[str, ...]) -> None:
        why = one_line(attempt.trouble.why, SAYS_CHARS) if attempt.trouble else "it gives no error"
        series, at = self._series.setdefault(key, {}), attempt.ended_at
        if failure := series.get(attempt.failed_as):
            failure.times, failure.last_at, failure.last_seq, failure.why = failure.times + 1, at, row.seq, why
            return
        failure = Failure(
            attempt.duty, attempt.target, attempt.backup_id, attempt.failed_as, why, at, at, row.seq, row.seq
        )
        series[attempt.failed_as] = failure
        self._failures.append(failure)

    # Backups

    def _backup(self, attempt: Attempt) -> TakenBackup | None:
        """Known by its id alone, where its making isn't in the ledger, or was killed after its last step."""
        if not is_backup_id(attempt.backup_id):
            return None
        key = attempt.target, attempt.backup_id
        if key not in self._backups:
            self._backups[key] = TakenBackup(*key, taken_at(attempt.backup_id))
        return self._backups[key]

    def _made(self, attempt: Attempt, row: Row, _: bool) -> None:
        waits = attempt.failed_as == "BackupSpooled"
        made = self._backup(attempt) if waits or attempt.state == "done" else None
        if attempt.started_at and attempt.started_at >= self._span.start and attempt.state != "skipped":
            self._tries.setdefault(attempt.target, []).append((attempt.started_at, made))
        if made is None or made.seq:
            return
        made.seq, made.waits, made.size = row.seq, waits, attempt.size
        made.run_id, made.by, made.host = visible(row.run_id), attempt.actor, attempt.host
        made.seconds, made.manifest = attempt.number("seconds"), visible(row.checksum or "")

    def _shipped(self, attempt: Attempt, _: Row, __: bool) -> None:
        if attempt.state == "done" and (made := self._backup(attempt)):
            made.waits = False

    def _verified(self, attempt: Attempt, row: Row, _: bool) -> None:
        level = _LEVELS.get(attempt.text("level"))
        compared = "size and SHA-256 of each file"
        if level and level >= ProofLevel.STRUCTURE:
            held = holds_of(attempt.mapping("figures"))
            compared += f"; unpacked to the end{f', {held}' if held else ''}"
        where = f"read back on {attempt.host}"
        self._judge(attempt, row, level, where, compared, bad_from=ProofLevel.CHECKSUM)

    def _restored(self, attempt: Attempt, row: Row, _: bool) -> None:
        compared = compared_words(attempt.mapping("figures"))
        level = _LEVELS.get(attempt.text("level"))
        self._judge(attempt, row, level, attempt.text("where"), compared, bad_from=ProofLevel.RESTORED)

    def _rebuilt(self, attempt: Attempt, row: Row, _: bool) -> None:
        level = ProofLevel.RESTORED if attempt.command.startswith("restore ") else None
        compared = compared_words(attempt.mapping("figures"))
        self._judge(attempt, row, level, attempt.text("where"), compared, bad_from=ProofLevel.RESTORED)

    def _judge(
        self, attempt: Attempt, row: Row, level: ProofLevel | None, where: str, compared: str, *, bad_from: ProofLevel
    ) -> None:
        """Only what is in a backup speaks against it: not a store that is away, nor a scratch server that is full."""
        if attempt.state == "done" and level and (made := self._backup(attempt)):
            seconds = attempt.number("seconds")
            made.reach(Proof(level, attempt.ended_at, row.seq, where, seconds, compared))
        elif attempt.failed_as in _BAD and (made := self._backup(attempt)):
            why = one_line(attempt.trouble.why, SAYS_CHARS) if attempt.trouble else ""
            made.fail(FailedProof(bad_from, attempt.ended_at, row.seq, why))

    def _drilled(self, attempt: Attempt, row: Row, within: bool) -> None:
        if attempt.detail.get("dry_run") is True:
            return
        partial, stood = attempt.detail.get("partial") is True, attempt.detail.get("stood") is True
        rows = tuple(one for one in attempt.mappings("targets") if self._target in (None, one.get("target")))
        for one in rows:
            made = self._backups.get((str(one.get("target")), str(one.get("backup_id"))))
            if made is None:
                continue
            if one.get("outcome") == "rebuilt" and stood and not partial and "rpo_s" in one:
                before, total = made.proof, one.get("total")
                seconds = float(total) if isinstance(total, int | float) else None
                where, compared = (before.where, before.compared) if before else ("", "")
                said = "; ".join(filter(None, (compared, "stood together with the whole site")))
                made.reach(Proof(ProofLevel.DRILLED, attempt.ended_at, row.seq, where, seconds, said))
            elif one.get("outcome") == "bad" and not made.bad:
                why = one_line(str(one.get("why", "")), SAYS_CHARS)
                made.fail(FailedProof(ProofLevel.RESTORED, attempt.ended_at, row.seq, why))
        if within:
            outcome = attempt.text("summary") or attempt.outcome
            self._drills.append(Drill(
                attempt.started_at, row.seq, attempt.actor, one_line(outcome, 2 * SAYS_CHARS), partial, stood,
                attempt.number("rto_s"), attempt.number("rpo_s"), attempt.mapping("goals"), rows,
            ))  # fmt: skip

    def _removed(self, attempt: Attempt, row: Row, within: bool) -> None:
        # Begun is enough: of a removal that was killed nothing whole is left.
        if attempt.state not in ("done", "died") or (made := self._backup(attempt)) is None:
            return
        reasons = attempt.texts("reasons") or ("the ledger has no reason: the removal has no finish",)
        made.removed = Removed(attempt.ended_at or attempt.started_at, row.seq, reasons)
        if within:
            size = attempt.size if attempt.size is not None else made.size
            self._removals.append(
                Removal(made.target, made.backup_id, made.removed.at, row.seq, size, made.standing, reasons)
            )
        if made.taken_at < self._span.start:
            del self._backups[made.target, made.backup_id]

    # What people did

    def _changed(self, attempt: Attempt, row: Row) -> None:
        outcome = attempt.outcome if attempt.state != "died" else _NO_FINISH
        self._changes.append(Change(
            attempt.started_at, row.seq, attempt.duty, attempt.target, attempt.actor, attempt.approver, attempt.state,
            outcome, one_line(attempt.command, SAYS_CHARS), visible(row.run_id),
        ))  # fmt: skip
        for rule, reason in attempt.mapping("waived").items():
            self._exempt(attempt, row, f"{attempt.duty} of {attempt.target}: waived {rule}", str(reason))

    def _guarded(self, attempt: Attempt, row: Row, within: bool) -> None:
        if within and attempt.detail.get("overridden") is True:
            what = f"worked outside the {attempt.target} window"
            self._exempt(attempt, row, what, attempt.text("override_reason") or attempt.text("reason"))

    def _pinned(self, attempt: Attempt, row: Row, within: bool) -> None:
        if within and attempt.state == "done":
            says = "kept whatever the rules say" if attempt.duty == "pin" else "left to the rules again"
            self._exempt(attempt, row, f"{attempt.target}/{attempt.backup_id} {says}", attempt.text("reason"))

    def _exempt(self, attempt: Attempt, row: Row, what: str, reason: str) -> None:
        by = attempt.approver or attempt.actor
        self._exemptions.append(Exemption(attempt.started_at, row.seq, what, by, one_line(reason, SAYS_CHARS)))

    # At the end

    def answers(self) -> dict[str, list[FinishedRun]]:
        """By target, when a backup was tried, and whether one is in the store because of it."""
        return {
            target: [FinishedRun(at, made is not None and not made.waits) for at, made in tries]
            for target, tries in self._tries.items()
        }

    def fill(self, evidence: Evidence) -> Evidence:
        """With all that was read. Ask once, after the last row."""
        self._close()
        within = (backup for backup in self._backups.values() if self._span.holds(backup.taken_at))
        evidence.fingerprints = dict(self._fingerprints.most_common())
        evidence.altered = tuple(self._altered)
        evidence.backups = tuple(sorted(within, key=lambda backup: (backup.taken_at, backup.target)))
        evidence.failures = tuple(sorted(self._failures, key=lambda failure: failure.first_seq))
        evidence.removals = tuple(self._removals)
        evidence.changes = tuple(sorted(self._changes, key=lambda change: change.seq))
        evidence.drills = tuple(self._drills)
        evidence.exemptions = tuple(self._exemptions)
        evidence.duties = dict(sorted(self._duties.items()))
        return evidence

    def _close(self) -> None:
        """Acts without a finish, and what became of backups whose proof failed."""
        for begun in self._open.values():
            row, within = begun.row, self._within(begun.row)
            if within:
                self._count(row, None)
            (attempt,) = read_attempts([Record(row, None, False)])
            self._heed(attempt, row, within)
            if within:
                at = attempt.started_at
                self._failures.append(Failure(
                    attempt.duty, attempt.target, attempt.backup_id, "", _NO_FINISH, at, at, row.seq, row.seq,
                    settled_at=_moment(begun.settled_at), settled_seq=begun.settled_seq,
                ))  # fmt: skip
        self._open.clear()
        for failure in self._failures:
            failure.after = self._after(failure)

    def _after(self, failure: Failure) -> str:
        made = self._backups.get((failure.target, failure.backup_id))
        if made is None:
            return ""
        if failure.kind == "BackupSpooled":
            return "it waits in the spool" if made.waits else "it was shipped from the spool"
        if failure.kind not in _BAD or not made.bad:
            return ""
        said = ["the backup counts as bad" if made.removed is None else "the backup was removed"]
        better = good_after(self._backups.values(), made.target, made.taken_at)
        said.append(f"the next good one is {better.backup_id}" if better else "no good one followed yet")
        return "; ".join(said)


def _key(row: Row) -> tuple[str, ...]:
    """What has to be done well for a failure to be over."""
    if row.duty in _OF_ONE_BACKUP:
        return row.duty, row.target, row.command
    return row.duty, row.target


def _moment(stamp: str) -> datetime | None:
    try:
        return datetime.fromisoformat(stamp)
    except ValueError:
        return None
