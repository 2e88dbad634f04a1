"""Every error Upkeep raises on purpose.

    UpkeepError
    ├── DuplicateInstall    Upkeep is found twice: mounted, and installed as a package
    ├── SiteFileError       a site file that can't be used; carries every problem found in it
    ├── PolicyRefused       a retention policy nobody could mean: it keeps nothing, or contradicts itself
    ├── ConnectionUnknown   an Airflow connection id that leads nowhere
    ├── NoFreshBackup       what could lose data was asked for, and no proven, young enough backup stands behind it
    ├── PurgeRefused        a table that doesn't let its rows go
    ├── TableCareFailed     tables that could not be tended; those that could were
    ├── RolloutRefused      a rollout, undo, restart or scaling that can't work as the cluster is; nothing was changed
    ├── RolloutFailed       one that was begun and did not get healthy in time
    ├── RollbackFailed      what such a one had changed was taken back, and is not healthy either
    ├── NotApproved         what waits for a person whom the site names was let through without one
    ├── WindowClosed        the maintenance window isn't open and nobody overrode it
    ├── Busy                another run holds the same target or server
    ├── NotSent             a message that its service did not take; the report itself is kept
    ├── Stopped             the task was told to stop; what it had begun is unfinished
    ├── EvidenceRefused     an export of evidence that would say nothing, or that can't be written
    ├── ToolError
    │   ├── ToolMissing     a client program isn't installed
    │   ├── ToolUnfit       it is installed, but in a release or flavour that would make a bad backup
    │   └── ToolFailed      it ran and failed; carries exit status and the (masked) end of its standard error
    ├── SourceError         the system under care can't be read: down, too busy, or it refuses what it is asked
    │   └── LoginRefused    it turns the account away: wrong password, no such account; each try more may lock it out
    ├── RestoreRefused      a restore by hand that a person has to settle something for first: writes that go on, a name
    │                       that is taken, a foreign key from elsewhere
    ├── RestoreUnavailable  a test restore that could not take place: no scratch, disk, client or extension; says
    │                       nothing about the backup
    │   └── NameTaken       there is a database already under the name that it would make
    ├── MigrationRefused    a migration that can't run as it is: not rehearsed, begun before, or not to be cut
    ├── MigrationFailed     one that was begun and failed; says what stands of it now
    │   └── MigrationLost   the server's answer is not known: nobody can say whether the last statement took
    ├── DrillFailed         a site that a drill could not rebuild whole: a target has no proven backup, or no scratch
    │   └── GoalMissed      it was rebuilt, but more slowly, or with more loss, than its goals allow
    ├── BenchmarkFailed     a query that could not be timed; says nothing about the others
    ├── StoreError
    │   ├── StoreUnreachable    no answer after every retry; what was being written waits in the spool
    │   ├── StoreFull           no room
    │   ├── StoreDenied         it turns the account away, or gives it too few rights
    │   ├── ObjectMissing       the store holds nothing under that name
    │   ├── ObjectHeld          a lock (WORM) forbids the delete until it expires
    │   └── ObjectDamaged       what came back, or what the store says it holds, differs from what was written
    ├── BackupError
    │   ├── ManifestBroken  a manifest that can't be read, or that was edited after it was sealed
    │   ├── ProofFailed     a backup that did not reach the next rung of the ladder
    │   ├── BackupSpooled   finished, but waiting in the spool because the store is away: not green
    │   └── BackupShrunk    suspiciously small against the last one
    └── LedgerError
        ├── LedgerUnavailable   the record can't be written, so nothing may be done
        └── LedgerBroken        a row was altered, removed or reordered

A message is lower case, names the object it is about, and ends with ``HINT:`` and what to do next.
"""

from __future__ import annotations


class UpkeepError(Exception):
    """An error a person has to act on.

    :param message: what is wrong, lower case, naming the object.
    :param hint: the next action, in a form that can be carried out.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message}\nHINT: {hint}")


class DuplicateInstall(UpkeepError):
    pass


class SiteFileError(UpkeepError):
    """A site file with one or more problems; ``problems`` holds one line for each."""

    def __init__(self, message: str, *, hint: str, problems: tuple[str, ...] = ()) -> None:
        self.problems = problems
        super().__init__("\n".join([message, *(f"  - {problem}" for problem in problems)]), hint=hint)


class PolicyRefused(UpkeepError):
    pass


class ConnectionUnknown(UpkeepError):
    pass


class NoFreshBackup(UpkeepError):
    pass


class PurgeRefused(UpkeepError):
    pass


class TableCareFailed(UpkeepError):
    pass


class RolloutRefused(UpkeepError):
    pass


class RolloutFailed(UpkeepError):
    pass


class RollbackFailed(UpkeepError):
    pass


class NotApproved(UpkeepError):
    pass


class WindowClosed(UpkeepError):
    pass


class Busy(UpkeepError):
    pass


class NotSent(UpkeepError):
    pass


class Stopped(UpkeepError):
    pass


class EvidenceRefused(UpkeepError):
    pass


class ToolError(UpkeepError):
    pass


class ToolMissing(ToolError):
    pass


class ToolUnfit(ToolError):
    pass


class ToolFailed(ToolError):
    """A client program that exited badly; ``status`` is its exit status (negative: the signal that ended it)."""

    def __init__(self, message: str, *, hint: str, status: int, stderr: str = "") -> None:
        self.status = status
        self.stderr = stderr
        super().__init__(message, hint=hint)

    @property
    def was_killed(self) -> bool:
        """It was ended from outside (out of memory, say): that tells nothing about what it was reading."""
        return self.status < 0


class SourceError(UpkeepError):
    pass


class LoginRefused(SourceError):
    pass


class RestoreRefused(UpkeepError):
    pass


class RestoreUnavailable(UpkeepError):
    pass


class NameTaken(RestoreUnavailable):
    pass


class MigrationRefused(UpkeepError):
    pass


class MigrationFailed(UpkeepError):
    pass


class MigrationLost(MigrationFailed):
    pass


class DrillFailed(UpkeepError):
    pass


class GoalMissed(DrillFailed):
    pass


class BenchmarkFailed(UpkeepError):
    pass


class StoreError(UpkeepError):
    pass


class StoreUnreachable(StoreError):
    pass


class StoreFull(StoreError):
    pass


class StoreDenied(StoreError):
    pass


class ObjectMissing(StoreError):
    pass


class ObjectHeld(StoreError):
    pass


class ObjectDamaged(StoreError):
    pass


class BackupError(UpkeepError):
    pass


class ManifestBroken(BackupError):
    pass


class ProofFailed(BackupError):
    pass


class BackupSpooled(BackupError):
    pass


class BackupShrunk(BackupError):
    pass


class LedgerError(UpkeepError):
    pass


class LedgerUnavailable(LedgerError):
    pass


class LedgerBroken(LedgerError):
    pass
