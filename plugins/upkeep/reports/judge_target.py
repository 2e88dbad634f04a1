"""The judgement on one target: from the ledger's acts to its line in the report.

A target is green when the ledger *shows* that its backup of this run is in the store, passed its proof and didn't
shrink, with nothing to remark. Whatever isn't shown is red; silence is red.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from upkeep.domain.backup import taken_at
from upkeep.domain.proof import ProofLevel, is_proven
from upkeep.domain.shrink import SizeVerdict, judge_size
from upkeep.domain.units import counted
from upkeep.reports.attempts import Attempt, Trouble, last_by_backup, last_of, one_line
from upkeep.reports.target_line import Proven, Remark, Removal, Status, TargetLine
from upkeep.site import Site

PROOFS = ("verify", "prove")
DUTIES = ("back_up", *PROOFS, "forget", "ship", "sweep")
"""The duties that a target's line tells about; a run's other acts are told one by one."""

_NO_BACKUP = "has no new backup"
_HELD = {"tables": "table", "keys": "key", "entries": "entry", "objects": "object"}


def tell_target(
    target: str,
    site: Site,
    attempts: Iterable[Attempt],
    past: Iterable[Attempt],
    *,
    waiting: Sequence[str],
    now: datetime,
    left_out: str = "",
    never_begun: str = "",
) -> TargetLine:
    """Judge one target.

    :param attempts: this run's, in the order of the ledger.
    :param past: the target's attempts of all runs, this one's included, in the order of the ledger.
    :param waiting: ids of its backups that are in the spool now.
    :param left_out: why no backup was wanted: not chosen, a dry run.
    :param never_begun: why nothing could be begun, when the run as a whole says so already: a closed window.
    """
    own = [attempt for attempt in attempts if attempt.target == target and attempt.duty in DUTIES]
    teller = _Teller(target, site, own, [attempt for attempt in past if attempt.target == target], waiting, now)
    return teller.tell(left_out, never_begun)


class _Teller:
    def __init__(
        self,
        target: str,
        site: Site,
        own: Sequence[Attempt],
        past: Sequence[Attempt],
        waiting: Sequence[str],
        now: datetime,
    ) -> None:
        self._target, self._site, self._own, self._past, self._now = target, site, own, past, now
        self._zone = ZoneInfo(site.timezone)
        self._tries = [attempt for attempt in own if attempt.duty == "back_up"]
        self._backup = last_of(self._tries)
        self._proofs = last_by_backup(own, *PROOFS)
        self._shipments = last_by_backup(own, "ship")
        self._removals = last_by_backup(own, "forget")
        self._sweeps = last_by_backup(own, "sweep")
        self._waiting = self._all_waiting(waiting)
        self._remarks: list[Remark] = []

    def tell(self, left_out: str, never_begun: str) -> TargetLine:
        if self._backup is None:
            self._tell_absence(left_out, never_begun)
        elif not self._in_store:
            self._tell_failure(self._backup)
        else:
            self._tell_proof(self._backup)
            self._tell_size()
            self._tell_figures(self._backup)
        self._tell_tries()
        self._tell_waiting()
        self._tell_other_proofs()
        self._tell_removals()
        self._tell_sweeps()
        return self._line(left_out, never_begun)

    # This run's backup.

    @cached_property
    def _backup_id(self) -> str:
        return self._backup.backup_id if self._backup else ""

    @cached_property
    def _in_store(self) -> bool:
        """Finished, and not only in the spool.

        A try that died after its manifest was written, or left the backup in the spool, may be followed by one that
        found or shipped the backup and had nothing of its own to record: then the proof or the shipment tells.
        """
        if self._backup is None:
            return False
        shipment = self._shipments.get(self._backup_id)
        return (
            self._backup.state == "done"
            or self._backup_id in self._proofs
            or (shipment is not None and shipment.state == "done")
        )

    @cached_property
    def _proof(self) -> Attempt | None:
        return self._proofs.get(self._backup_id) if self._in_store else None

    @cached_property
    def _size(self) -> int | None:
        if self._backup is None:
            return None
        noted = self._backup.number("size")
        return int(noted) if noted is not None else (self._proof.size if self._proof else None) or self._backup.size

    @cached_property
    def _verdict(self) -> SizeVerdict | None:
        """The same judgement, from the same sizes, as the one behind which retention runs."""
        if not self._in_store or not self._backup_id or self._size is None or self._size < 0:
            return None
        earlier = [
            proven.size
            for proven in _proven(self._past)
            if proven.size is not None
            and proven.size >= 0
            and proven.taken_at < taken_at(self._backup_id)
            and is_proven(proven.level, False, counts_from=self._counts_from)
        ]
        return judge_size(self._size, earlier, self._site.max_shrink_pct)

    @property
    def _counts_from(self) -> ProofLevel:
        return ProofLevel[self._site.retention.counts_from.upper()]

    @cached_property
    def _earlier(self) -> Proven | None:
        """The newest backup but this run's that is proven and, as far as the ledger knows, still there."""
        gone = {
            backup_id
            for backup_id, removal in last_by_backup(self._past, "forget").items()
            if not _is_held(removal)  # begun is enough: its manifest went first
        }
        there = [
            proven
            for proven in _proven(self._past)
            if proven.backup_id not in gone
            and proven.backup_id != self._backup_id
            and is_proven(proven.level, False, counts_from=min(self._counts_from, ProofLevel.STRUCTURE))
        ]
        return there[-1] if there else None

    def _all_waiting(self, given: Sequence[str]) -> tuple[str, ...]:
        """What the reporter found in its spool, and what this run put into the spool of another worker."""
        spooled = [
            attempt.backup_id
            for attempt in self._tries
            if _went_to_spool(attempt) and attempt.backup_id not in self._settled
        ]
        return tuple(dict.fromkeys([*sorted(given), *spooled]))

    @cached_property
    def _settled(self) -> set[str]:
        """Backups that left the spool, or that were proven, which only works in the store."""
        return {a.backup_id for a in self._shipments.values() if _was_shipped(a)} | self._proofs.keys()

    # Remarks.

    def _remark(self, status: Status, what: str, why: str = "", hint: str = "") -> None:
        self._remarks.append(Remark(status, self._target, what, why, hint))

    def _tell_absence(self, left_out: str, never_begun: str) -> None:
        if left_out or never_begun:
            return
        # What comes before the dump may have stopped it: shipping from the spool, sweeping.
        stopped = last_of([a for a in self._own if a.duty in ("ship", "sweep") and a.state in ("failed", "died")])
        if stopped:
            trouble = stopped.trouble or Trouble("", f"what comes before it ({stopped.command}) {stopped.outcome}")
            self._remark(Status.RED, _NO_BACKUP, trouble.why, trouble.hint or _read_the_log(stopped))
            return
        self._remark(
            Status.RED,
            _NO_BACKUP,
            "nothing was done: the ledger has no act of this run for it",
            f"open the task back_up of {self._target} in this run: its log says what kept it from beginning; then "
            "clear it",
        )

    def _tell_failure(self, backup: Attempt) -> None:
        if _went_to_spool(backup):
            return  # _tell_waiting has the reason
        match backup.state:
            case "running":
                why = f"it is still being made on {backup.host}, since {self._clock(backup.started_at)}"
                hint = "wait for it, or read that task's log; this report is from before its end"
            case "died":
                why = f"the process that made it was killed on {backup.host}; it began {self._clock(backup.started_at)}"
                hint = (
                    f"look for the reason on {backup.host} (out of memory: dmesg; restart: uptime), then clear the "
                    "task: a rerun removes what was left and starts over"
                )
            case "skipped":
                why = f"it was skipped: {backup.text('reason') or 'no reason was given'}"
                hint = _read_the_log(backup)
            case _:
                trouble = backup.trouble
                why = trouble.why if trouble else "it gives no error"
                hint = (trouble.hint if trouble else "") or _read_the_log(backup)
        self._remark(Status.RED, _NO_BACKUP, why, hint)

    def _tell_proof(self, backup: Attempt) -> None:
        proof = self._proof
        if backup.state != "done":
            how = "the store was away; a later try shipped it" if _went_to_spool(backup) else backup.outcome
            self._remark(Status.AMBER, "was not recorded as done, yet is in the store", how)
        if proof is None:
            self._remark(
                Status.RED,
                "is not proven",
                f"nobody has read {backup.backup_id} back from the store",
                "open the task verify of this target: it didn't begin; clear it. Until then this backup doesn't count",
            )
        elif proof.state == "done":
            if _level(proof) < self._counts_from:
                self._remark(
                    Status.AMBER,
                    f"is proven to {_level(proof).label} only",
                    f"retention counts backups from {self._counts_from.label} on: it removes nothing behind this one",
                )
        elif proof.trouble:
            what = "failed its proof" if _is_damage(proof) else "is not proven"
            self._remark(Status.RED, what, proof.trouble.why, proof.trouble.hint or _read_the_log(proof))
        else:
            self._remark(Status.RED, "is not proven", f"its proof {proof.outcome}", _read_the_log(proof))

    def _tell_size(self) -> None:
        if self._verdict is None:
            self._remark(
                Status.RED,
                "has no size in the ledger",
                "nobody can say whether it shrank",
                f"run upkeep ledger verify {self._site.name}: somebody may have changed a row; then read the manifest",
            )
        elif not self._verdict.ok:
            self._remark(
                Status.RED,
                "is suspiciously small",
                self._verdict.reason,
                "if much was deleted on purpose, all is well, and tomorrow's is compared with this one; if not, look "
                "for lost rows now, while the older backups are still there",
            )

    def _tell_figures(self, backup: Attempt) -> None:
        warnings = backup.texts("warnings")
        for warning in warnings:
            self._remark(Status.AMBER, "warns", warning)
        missing = str(backup.mapping("position").get("missing", ""))
        if missing and not any(missing in warning for warning in warnings):
            self._remark(Status.AMBER, "has no log position", missing)
        if left_out := backup.text("left_out"):
            self._remark(Status.AMBER, "has figures the ledger could not keep", left_out, "see the backup's manifest")

    def _tell_tries(self) -> None:
        proofs = [a for a in self._own if a.duty in PROOFS and a.backup_id == self._backup_id]
        for what, attempts in (("", self._tries), (" at its proof", proofs)):
            missed = [attempt for attempt in attempts[:-1] if attempt.state != "done"]
            if missed:
                why = "; ".join(f"try {attempt.try_number} {attempt.outcome}" for attempt in missed)
                self._remark(Status.AMBER, f"took {len(attempts)} tries{what}", why)

    def _tell_waiting(self) -> None:
        if self._waiting:
            own = self._backup_id in self._waiting
            refused = last_of([a for a in self._own if a.backup_id in self._waiting and a.trouble])
            trouble = refused.trouble if refused else None
            others = ", ".join(name for name in self._waiting if not refused or name != refused.backup_id)
            older = "has an older backup" if len(self._waiting) == 1 else "has older backups"
            why = "; ".join(
                filter(None, (trouble.why if trouble else "", f"the store doesn't have {others} yet" if others else ""))
            )
            self._remark(
                Status.RED,
                "waits in the spool" if own else f"{older} waiting in the spool",
                why,
                (trouble.hint if trouble else "") or "bring the store back; the next run on this worker ships it",
            )
        for backup_id, shipment in self._shipments.items():
            if shipment.state != "done" and backup_id not in self._waiting and self._backup is not None:
                what = backup_id or "what may wait in the spool"
                self._remark(Status.AMBER, f"could not ship {what}", shipment.outcome)
        self._tell_forgotten_spools()

    def _tell_forgotten_spools(self) -> None:
        """A spool is a worker's own: what waits in another worker's only the ledger knows."""
        settled = {a.backup_id for a in self._past if a.duty in (*PROOFS, "forget") or _was_shipped(a)}
        for attempt in self._past:
            if _went_to_spool(attempt) and attempt.backup_id not in settled | {*self._waiting}:
                self._remark(
                    Status.AMBER,
                    f"may still have {attempt.backup_id} in the spool of {attempt.host}",
                    f"it was left there {self._clock(attempt.ended_at)}, and the ledger has no shipment of it",
                    f"the next run of this target on {attempt.host} ships it; see that the worker still exists",
                )

    def _tell_other_proofs(self) -> None:
        for backup_id, proof in self._proofs.items():
            if backup_id == self._backup_id or proof.state == "done":
                continue
            trouble = proof.trouble
            self._remark(
                Status.RED,
                f"has an older backup that {'failed its proof' if _is_damage(proof) else 'is not proven'}: {backup_id}",
                trouble.why if trouble else f"its proof {proof.outcome}",
                (trouble.hint if trouble else "") or _read_the_log(proof),
            )

    def _tell_removals(self) -> None:
        for backup_id, removal in self._removals.items():
            if removal.state == "done" or _is_held(removal):
                continue
            if removal.state == "failed" and removal.trouble:
                hint = removal.trouble.hint or _read_the_log(removal)
                self._remark(Status.RED, f"could not remove {backup_id}", removal.trouble.why, hint)
            else:
                self._remark(
                    Status.AMBER,
                    f"did not finish removing {backup_id}",
                    f"the removal {removal.outcome}",
                    "nothing to do: its manifest went first, and the next run removes what is left",
                )

    def _tell_sweeps(self) -> None:
        if self._backup is None:
            return
        for backup_id, sweep in self._sweeps.items():
            if sweep.state not in ("done", "skipped"):  # skipped: a lock (WORM) holds what is left, until it ends
                self._remark(Status.AMBER, f"could not remove the unfinished {backup_id}", sweep.outcome)

    # The line.

    def _line(self, left_out: str, never_begun: str) -> TargetLine:
        backup, proof, earlier = self._backup, self._proof, self._earlier
        remarks = tuple(sorted(self._remarks, key=lambda remark: remark.status))
        level = _level(proof) if proof and proof.state == "done" else None
        proven = level is not None and self._verdict is not None and self._verdict.ok
        status, reason = self._judged(remarks, left_out, never_begun)
        position = dict(backup.mapping("position")) if backup else {}
        return TargetLine(
            target=self._target,
            engine=next((target.engine for target in self._site.targets if target.name == self._target), ""),
            status=status,
            reason=reason,
            remarks=remarks,
            backup_id=self._backup_id,
            in_store=self._in_store,
            proven=proven,
            size=self._size,
            verdict=self._verdict,
            seconds=backup.number("seconds") if backup else None,
            proof=level,
            proof_seconds=proof.number("seconds") if proof else None,
            holds=holds_of(proof.mapping("figures")) if proof else "",
            rows_are=backup.text("rows_are") if backup else "",
            position=_position(position),
            position_missing=str(position.get("missing", "")),
            earlier=earlier,
            earlier_age_s=(self._now - earlier.taken_at).total_seconds() if earlier else 0,
            proven_late=tuple(
                proven
                for proven in _proven(list(self._proofs.values()))
                if proven.backup_id != self._backup_id
            ),
            removed=tuple(_removal(a) for a in self._removals.values() if a.state == "done"),
            held=tuple(_removal(a) for a in self._removals.values() if _is_held(a)),
            swept=tuple(backup_id for backup_id, a in self._sweeps.items() if a.state == "done"),
            shipped=tuple(backup_id for backup_id, a in self._shipments.items() if a.state == "done"),
            waiting=self._waiting,
        )  # fmt: skip

    def _judged(self, remarks: Sequence[Remark], left_out: str, never_begun: str) -> tuple[Status, str]:
        worst = remarks[0].status if remarks else Status.GREEN
        if self._backup is None and worst is not Status.RED:
            return (Status.SKIPPED, left_out) if left_out else (Status.RED, f"{_NO_BACKUP}: {never_begun}")
        if worst is Status.GREEN:
            return worst, "backed up and proven"
        told = list(dict.fromkeys(remark.what for remark in remarks if remark.status == worst))
        return worst, "; ".join(told)

    def _clock(self, moment: datetime | None) -> str:
        return f"{moment.astimezone(self._zone):%Y-%m-%d %H:%M}" if moment else "at an unknown time"


def _proven(attempts: Sequence[Attempt]) -> list[Proven]:
    """Backups whose proofs hold, oldest first. A failed proof counts against its backup until a later one holds."""
    standing: dict[str, Proven] = {}
    for attempt in attempts:
        if attempt.duty not in PROOFS or not attempt.backup_id:
            continue
        if _is_damage(attempt):
            standing.pop(attempt.backup_id, None)
        elif attempt.state == "done":
            before = standing.get(attempt.backup_id)
            level = max(_level(attempt), before.level) if before else _level(attempt)
            size = attempt.size if attempt.size is not None else (before.size if before else None)
            standing[attempt.backup_id] = Proven(attempt.backup_id, size, level)
    return sorted(standing.values(), key=lambda proven: (proven.taken_at, proven.backup_id))


def _level(proof: Attempt) -> ProofLevel:
    """A proof that was done has at the least read every byte."""
    name = proof.text("level").upper()
    return ProofLevel[name] if name in ProofLevel.__members__ else ProofLevel.CHECKSUM


def _is_damage(proof: Attempt) -> bool:
    """Whether it failed because of the backup, not because a store or a server was away."""
    return proof.failed_as in ("ProofFailed", "_StructureFailed", "ManifestBroken")


def _went_to_spool(attempt: Attempt) -> bool:
    return attempt.failed_as == "BackupSpooled"


def _was_shipped(attempt: Attempt) -> bool:
    return attempt.duty == "ship" and attempt.state == "done"


def _is_held(removal: Attempt) -> bool:
    return removal.failed_as == "ObjectHeld"


def _removal(attempt: Attempt) -> Removal:
    held = attempt.trouble.why if attempt.trouble else ""
    return Removal(attempt.backup_id, attempt.size, attempt.texts("reasons"), held)


def _read_the_log(attempt: Attempt) -> str:
    return f"read the log of task {attempt.task_id or attempt.duty}, try {attempt.try_number}, on {attempt.host}"


def holds_of(figures: Mapping[str, Any]) -> str:
    """What the proof counted, over all files: ``27 tables``, ``120 keys``."""
    files = [file for file in figures.values() if isinstance(file, dict)]
    for name, noun in _HELD.items():
        if found := [file[name] for file in files if isinstance(file.get(name), int)]:
            return counted(sum(found), noun)
    return ""


def _position(position: Mapping[str, Any]) -> str:
    match position:
        case {"missing": _}:
            return ""
        case {"file": file, "position": offset, **rest}:
            gtid = f", GTID {one_line(str(rest['gtid']))}" if rest.get("gtid") else ""
            return f"binlog {file}:{offset}{gtid}"
        case {"lsn": lsn, **rest}:
            return f"LSN {lsn}" + (f", timeline {rest['timeline']}" if rest.get("timeline") else "")
        case {"replication_id": str(replication_id), "offset": offset}:
            return f"replication offset {offset} of {replication_id}"
        case _:
            return ", ".join(f"{name} {value}" for name, value in sorted(position.items()) if value not in (None, ""))
