"""The catalogue of a target: which backups its store holds, and how far each has been proven.

It is read from the store itself, in one listing, so it can't disagree with what is there: a manifest makes a backup,
the names of its proofs say how far it got. Everything else under the target is an orphan.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from upkeep.domain.backup import BackupRef, is_backup_id, taken_at
from upkeep.domain.manifest import NAME as MANIFEST
from upkeep.domain.manifest import Manifest
from upkeep.domain.proof import ProofLevel
from upkeep.domain.retention import Candidate
from upkeep.errors import ObjectMissing
from upkeep.stores.base import Store, StoredObject

PIN = "pin.json"
PROOFS = "proofs/"
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Proof:
    """One look at a backup: which rung, when, and whether it held."""

    level: ProofLevel
    at: datetime
    ok: bool


@dataclass(frozen=True)
class Backup:
    """One backup as the store's listing shows it. ``size`` is in bytes and leaves out manifest and proofs."""

    ref: BackupRef
    size: int
    proofs: tuple[Proof, ...]
    pinned: bool

    @property
    def taken_at(self) -> datetime:
        return taken_at(self.ref.backup_id)

    @property
    def level(self) -> ProofLevel:
        return max((proof.level for proof in self.proofs if proof.ok), default=ProofLevel.STORED)

    @property
    def failure(self) -> Proof | None:
        """The failed proof that no later one on the same rung or above has overturned."""
        failures = [proof for proof in self.proofs if not proof.ok]
        for failure in sorted(failures, key=lambda proof: proof.at, reverse=True):
            if not any(proof.ok and proof.level >= failure.level and proof.at > failure.at for proof in self.proofs):
                return failure
        return None

    @property
    def standing(self) -> str:
        """How far it got, in a word."""
        return "damaged" if self.failure else self.level.label


@dataclass(frozen=True)
class Catalogue:
    """``backups`` oldest first; ``orphans`` maps the id of an unfinished or half-removed backup to its objects."""

    backups: tuple[Backup, ...]
    orphans: Mapping[str, tuple[str, ...]]

    def find(self, backup_id: str) -> Backup | None:
        return next((backup for backup in self.backups if backup.ref.backup_id == backup_id), None)


def read_catalogue(store: Store, site: str, target: str) -> Catalogue:
    prefix = f"{site}/{target}/"
    groups: dict[str, list[StoredObject]] = {}
    for stored in store.list(prefix):
        backup_id = stored.key.removeprefix(prefix).partition("/")[0]
        if is_backup_id(backup_id):
            groups.setdefault(backup_id, []).append(stored)
    backups, orphans = [], {}
    for backup_id in sorted(groups):
        ref = BackupRef(site, target, backup_id)
        objects = {stored.key.removeprefix(ref.prefix): stored for stored in groups[backup_id]}
        if MANIFEST in objects:
            backups.append(_backup(ref, objects))
        else:
            orphans[backup_id] = tuple(sorted(stored.key for stored in groups[backup_id]))
    return Catalogue(tuple(backups), orphans)


def stored_targets(store: Store, site: str) -> list[str]:
    """Every target that has a backup in the store, those included that the site file no longer names."""
    found = (stored.key.split("/") for stored in store.list(f"{site}/"))
    return sorted({parts[1] for parts in found if len(parts) > 3 and is_backup_id(parts[2])})


def read_manifest(store: Store, ref: BackupRef) -> tuple[Manifest, bytes]:
    """The manifest and its raw bytes. Errors: ``ManifestBroken``, ``ObjectMissing``."""
    key = ref.prefix + MANIFEST
    data = store.get(key)
    return Manifest.from_bytes(data, f"{store.url}/{key}"), data


def write_proof(
    store: Store,
    ref: BackupRef,
    level: ProofLevel,
    *,
    ok: bool,
    at: datetime,
    run: Mapping[str, Any],
    figures: Mapping[str, Any],
) -> None:
    """Keep a proof beside its backup. The verdict is in the name, so that a listing is enough to know it."""
    name = f"{at.astimezone(UTC):{_STAMP}}-{level.label}-{'pass' if ok else 'fail'}.json"
    content = {
        "backup": ref.to_dict(),
        "level": level.label,
        "ok": ok,
        "at": at.isoformat(),
        "run": run,
        "figures": figures,
    }
    store.put(f"{ref.prefix}{PROOFS}{name}", (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def pin(store: Store, ref: BackupRef, *, by: str, reason: str, at: datetime) -> None:
    """Keep a backup whatever the rules say, until ``unpin``. Errors: ``ObjectMissing`` when there is no such backup."""
    store.get(ref.prefix + MANIFEST)
    content = {"by": by, "reason": reason, "at": at.isoformat()}
    store.put(ref.prefix + PIN, (json.dumps(content, ensure_ascii=False) + "\n").encode())


def unpin(store: Store, ref: BackupRef) -> None:
    store.delete(ref.prefix + PIN)


def read_pin(store: Store, ref: BackupRef) -> str | None:
    """Who pinned a backup and why. A pin that can't be read still pins: losing a backup to a stray byte is worse."""
    try:
        content = json.loads(store.get(ref.prefix + PIN))
        return f"{content['by']}: {content['reason']}"
    except ObjectMissing:
        return None
    except (ValueError, KeyError, TypeError):
        return "a pin that can't be read"


def candidates(store: Store, catalogue: Catalogue) -> list[Candidate]:
    """The catalogue as retention wants it; only pinned backups cost another request."""
    return [
        Candidate(
            site=backup.ref.site,
            target=backup.ref.target,
            backup_id=backup.ref.backup_id,
            taken_at=backup.taken_at,
            level=backup.level,
            failed=backup.failure is not None,
            size=backup.size,
            pinned=read_pin(store, backup.ref) if backup.pinned else None,
            failed_at=backup.failure.at if backup.failure else None,
        )
        for backup in catalogue.backups
    ]


def _backup(ref: BackupRef, objects: Mapping[str, StoredObject]) -> Backup:
    proofs = [proof for name in objects if name.startswith(PROOFS) and (proof := _proof(name.removeprefix(PROOFS)))]
    return Backup(
        ref=ref,
        size=sum(stored.size for name, stored in objects.items() if "/" not in name and name not in (MANIFEST, PIN)),
        proofs=tuple(sorted(proofs, key=lambda proof: (proof.at, proof.level))),
        pinned=PIN in objects,
    )


def _proof(name: str) -> Proof | None:
    stamp, _, rest = name.removesuffix(".json").partition("-")
    level, _, verdict = rest.partition("-")
    if verdict not in ("pass", "fail") or level.upper() not in ProofLevel.__members__:
        return None
    try:
        at = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Proof(ProofLevel[level.upper()], at, verdict == "pass")
