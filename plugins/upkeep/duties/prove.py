"""Prove backups by restoring them: into a scratch server, compared with what was recorded when they were made.

One backup after the other, newest first: its manifest is trusted -> the scratch is fit for it -> it is restored under a
name of its own -> counts, contents, objects and the site's checks are compared -> the copy is taken away -> the proof
is written beside the backup.

**Why a kill at any line is safe.** The copy's name tells whose it is; the next run removes it under the same hold
before it restores anything. A proof is one small file, written last.

**What fails and what doesn't.** Any difference is a bad backup: ``ProofFailed``, and a failed proof that retention
heeds. What keeps a restore from taking place (no scratch, no disk, no client, no key, the store away) says nothing
about the backup: no proof is written, the ledger says ``infrastructure``, and ``RestoreUnavailable`` comes after the
others had their turn. Only a database for which the site names no scratch at all is a remark instead of an error.

**When the window closes** no further restore begins. The newest backup goes first, so what is left is what matters
least; the ledger says how much that is, and the next run goes on with it while it is of the last days.

The nightly backup isn't kept waiting: what is held is the scratch of the target, not the target. Where retention
removes a backup meanwhile, its restore is passed over.
"""

from __future__ import annotations

import logging
from typing import Any

from upkeep.domain.proof import ProofLevel
from upkeep.domain.proving import Choice, choose_backups
from upkeep.duties.catalogue import Backup, Catalogue, candidates, read_catalogue
from upkeep.duties.job import Job
from upkeep.duties.read_back import key_of, plain_bytes, trusted_manifest
from upkeep.duties.rebuilding import Rebuilding, RemovedMeanwhile, infrastructure, sweep
from upkeep.duties.scratch import NoScratch, Scratch
from upkeep.duties.scratches import scratch_of
from upkeep.duties.until import WITHOUT_END, Until
from upkeep.errors import (
    ConnectionUnknown,
    ManifestBroken,
    ObjectMissing,
    ProofFailed,
    RestoreUnavailable,
    UpkeepError,
)

log = logging.getLogger(__name__)

LOOK_BACK = 20
"""Records among which the last restore is looked for."""


def prove(
    job: Job,
    target: str,
    *,
    until: Until = WITHOUT_END,
    dry_run: bool = False,
    backup_id: str | None = None,
) -> dict[str, Any]:
    """Restore the backups of ``target`` that the site wants restored and that nobody has restored yet, and compare.

    ``backup_id``: this one only, whatever is known of it; then a target without scratch is an error. ``dry_run``: all
    but the restore: the choice, the manifest, the scratch. ``until``: no restore begins after it, nor one that took
    longer the last time than is left.

    Errors: ``ProofFailed`` or ``ManifestBroken`` for the first bad backup, else ``RestoreUnavailable`` for the first
    that could not be restored, both after the others had their turn; ``Busy``; ``ObjectMissing``; ``Stopped``;
    ``StoreUnreachable``.
    """
    job.site.target(target)
    catalogue = read_catalogue(job.store, job.site.name, target)
    choices = _choose(job, catalogue, target, backup_id)
    for choice in choices:
        log.info("%s", choice)
    chosen = [backup for choice in choices if choice.chosen and (backup := catalogue.find(choice.backup_id))]
    result = {"site": job.site.name, "target": target, "dry_run": dry_run, "passed_over": len(choices) - len(chosen)}
    if not chosen:
        return {**result, "restored": {}, "reason": _nothing(job, target, choices)}
    try:
        scratch = scratch_of(job, target)
    except (RestoreUnavailable, ConnectionUnknown) as error:
        reason = _no_scratch(job, target, error)
        if backup_id:
            raise
        return {**result, "restored": {}, "reason": reason}
    if dry_run:
        return {**result, "would_restore": _rehearse(job, scratch, chosen), "into": scratch.place}
    restored: dict[str, float] = {}
    bad: list[ProofFailed | ManifestBroken] = []
    unable: list[RestoreUnavailable] = []
    with job.hold(f"{target}/scratch"):
        sweep(job, target, scratch)
        for turn, backup in enumerate(chosen):
            until.require_going(f"{len(chosen) - turn} backups of {target} were not restored")
            if until.is_over(job.now(), needs_s=_expected_s(job, backup)):
                _leave(job, target, len(chosen) - turn, until)
                break
            try:
                if (seconds := _prove(job, backup, scratch)) is not None:
                    restored[backup.ref.backup_id] = seconds
            except (ProofFailed, ManifestBroken) as error:
                log.error("%s: %s", backup.ref.backup_id, error)
                bad.append(error)
            except RestoreUnavailable as error:
                log.error("%s: %s", backup.ref.backup_id, error)
                unable.append(error)
    if bad or unable:
        raise (bad or unable)[0]
    return {**result, "restored": restored}


def _expected_s(job: Job, backup: Backup) -> float:
    """How long this restore will take, by the speed of the target's last one; 0 before the first."""
    target = backup.ref.target
    for record in job.ledger.acts(job.site.name, target=target, duty="prove", limit=LOOK_BACK, newest_first=True):
        seconds, size = record.detail.get("seconds"), record.finished.bytes if record.finished else None
        if record.state == "done" and seconds and size:
            return float(seconds) * backup.size / size
    return 0


def _leave(job: Job, target: str, count: int, until: Until) -> None:
    with job.ledger.record(job.act("prove", target, command=f"leave {count} backups for the next window")) as entry:
        entry.note(
            light="amber",
            summary=f"{count} backups are left for the next window: this one closes at {until.closes_at:%H:%M %Z}",
            hint="lengthen rhythms.weekly.length_h, or restore fewer with prove: newest or prove: 1/2",
        )
    log.warning("%s: %d backups are left for the next window", target, count)


def _choose(job: Job, catalogue: Catalogue, target: str, backup_id: str | None) -> tuple[Choice, ...]:
    if backup_id is None:
        has_key = not job.site.encryption or bool(job.site.encryption.identity_conn_id)
        return choose_backups(candidates(job.store, catalogue), job.now(), job.site.prove, has_key=has_key)
    if catalogue.find(backup_id) is None:
        raise ObjectMissing(
            f"the store {job.store.url} holds no backup {backup_id} of {job.site.name}/{target}",
            hint=f"upkeep backups {job.site.name} {target} lists what it holds",
        )
    return (Choice(backup_id, True, "asked for"),)


def _nothing(job: Job, target: str, choices: tuple[Choice, ...]) -> str:
    """Say in the ledger why nothing is restored: it may be that all is done, or that it can't be."""
    without_key = [choice for choice in choices if "identity_conn_id" in choice.reason]
    with job.ledger.record(job.act("prove", target, command="nothing to restore")) as entry:
        if not choices:
            entry.note(light="amber", summary="there is no backup to restore", hint="back it up, then prove that")
        elif without_key:
            entry.note(
                light="amber",
                summary=f"{len(without_key)} backups can't be restored: {without_key[0].reason}",
                hint="name the connection that holds the private key under encryption.identity_conn_id",
            )
        elif not choices[0].reason.endswith("already"):
            entry.note(
                light="amber",
                summary=f"nothing is restored: the newest is {choices[0].reason}",
                hint=f"see upkeep backups {job.site.name} {target}; fix the nightly run, then prove what it makes",
            )
        else:
            entry.note(light="green", summary=f"nothing to restore: the newest is {choices[0].reason}")
    return choices[0].reason if choices else "there is no backup"


def _no_scratch(job: Job, target: str, error: UpkeepError) -> str:
    """A database without a scratch server is a remark; one whose scratch can't be used is an error."""
    with job.ledger.record(job.act("prove", target, command="look for the scratch server")) as entry:
        light = "amber" if isinstance(error, NoScratch) else "red"
        entry.note(light=light, summary=f"infrastructure: {error.message}", hint=error.hint)
        if not isinstance(error, NoScratch):
            raise infrastructure(error) from error
    return error.message


def _prove(job: Job, backup: Backup, scratch: Scratch) -> float | None:
    """The measured restore time in seconds; None when the backup is no longer there."""
    ref, rebuilding = backup.ref, Rebuilding(job, backup, scratch)
    with job.ledger.record(job.act("prove", ref.target, command=f"restore {ref.backup_id} to prove it")) as entry:
        entry.note(backup_id=ref.backup_id, where=scratch.place)
        try:
            rebuilding.check(entry)
            with rebuilding.standing(entry):
                rebuilding.ask(entry)
            rebuilding.require_alike(entry)
        except RemovedMeanwhile:
            entry.skip("it was removed while it was restored")
            return None
        rebuilding.prove(ProofLevel.RESTORED)
        rebuilding.note(entry, level=ProofLevel.RESTORED.label)
        return rebuilding.restored.seconds["total"]


def _rehearse(job: Job, scratch: Scratch, chosen: list[Backup]) -> list[str]:
    """All of it up to the restore. Errors: ``ManifestBroken``, ``RestoreUnavailable``."""
    for backup in chosen:
        manifest = trusted_manifest(job, backup)
        key_of(job, manifest)
        for note in scratch.check(manifest, plain_bytes(job, backup, manifest)):
            log.warning("%s", note)
        log.info("%s: would be restored into %s", backup.ref.backup_id, scratch.place)
    return [backup.ref.backup_id for backup in chosen]
