"""The site's hook that keeps applications from writing while a database is replaced."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from datetime import timedelta

from upkeep.domain.rollout import Live, Mark
from upkeep.domain.units import first_few, human_seconds
from upkeep.duties.cluster_work import opened
from upkeep.duties.job import Job
from upkeep.duties.until import WITHOUT_END
from upkeep.engines.live_base import LiveServer
from upkeep.errors import RestoreRefused, RestoreUnavailable, RolloutRefused, SourceError
from upkeep.ledger import Record, Row
from upkeep.site import Database, ScaleToZero

PODS_GONE_S = 300
LOOK_EVERY_S = 1.0
GO_ON = "let writes go on"
"""The command of a stop that was waived."""
WAIVE = "give --waive-stop REASON (in the form: applications may go on writing, because)"
_COUNT = re.compile(r"([a-z0-9.-]+)=(\d+)")
_END_THEM = f"end these sessions and keep their accounts away; or stop the applications by hand and {WAIVE}"


class WriteStop(ABC):
    """Errors of every method: ``RestoreUnavailable``; ``Stopped`` where it would wait."""

    @abstractmethod
    def how(self, begun: str) -> str:
        """What is going to be done, with all that undoing it needs: it stands in the ledger before it is done.

        :param begun: what an unfinished stop said, or empty.
        """

    @abstractmethod
    def holds(self) -> bool:
        """Whether nobody can write now."""

    @abstractmethod
    def refuse_foreign(self) -> None:
        """Nobody can write now, and Upkeep isn't why. Errors: ``RestoreRefused`` where that means a wrong place."""

    def remarks(self) -> list[str]:
        """What a person has to know before writes are stopped."""
        return []

    def refuse_writers(self) -> None:
        """Errors: ``RestoreRefused`` where somebody is there who would go on writing all the same."""
        return

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def let(self, how: str) -> None:
        """Undo it; ``how``: as it stands in the ledger."""


class ReadOnly(WriteStop):
    def __init__(self, server: LiveServer, live: str) -> None:
        self._server, self._live = server, live

    def how(self, begun: str) -> str:
        return "read_only"

    def holds(self) -> bool:
        return self._server.writes_are_stopped(self._live)

    def refuse_foreign(self) -> None:
        raise RestoreRefused(
            f"{self._live} is read only already, and not by Upkeep: it may be a replica",
            hint="restore on the primary; or make it writable, then run it again",
        )

    def remarks(self) -> list[str]:
        remarks = []
        if accounts := self._server.exempt():
            remarks.append(f"these accounts may write although the server is read only: {first_few(accounts)}")
        try:
            if writers := self._server.writers(self._live):
                remarks.append(f"in the way: {first_few(writers)} could go on writing; {_END_THEM}")
        except RestoreUnavailable as error:
            remarks.append(f"in the way: nobody can see who could go on writing: {error.message}")
        return remarks

    def refuse_writers(self) -> None:
        if writers := self._server.writers(self._live):
            raise RestoreRefused(
                f"{len(writers)} sessions on {self._live} could write although the server is read only: "
                f"{first_few(writers)}",
                hint=_END_THEM,
            )

    def stop(self) -> None:
        self._server.stop_writes(self._live)

    def let(self, how: str) -> None:
        self._server.let_write(self._live)


class ScaledToZero(WriteStop):
    """Deployments whose pods all end. Autoscalers leave a Deployment of zero replicas alone."""

    def __init__(self, job: Job, names: list[str]) -> None:
        self._job, self._names = job, names

    def how(self, begun: str) -> str:
        before = {name: int(count) for name, count in _COUNT.findall(begun)}
        counts = {name: before.get(name) or live.replicas for name, live in self._read().items()}
        return "scale to zero " + ", ".join(f"{name}={count}" for name, count in counts.items())

    def holds(self) -> bool:
        return all(not live.replicas and not live.pods for live in self._read().values())

    def refuse_foreign(self) -> None:
        """Somebody scaled them down by hand, which is as good; they aren't scaled up again either."""
        return

    def stop(self) -> None:
        for name in self._names:
            self._scale(name, 0)
        deadline = time.monotonic() + PODS_GONE_S
        while not self.holds():
            WITHOUT_END.require_going(f"pods of {', '.join(self._names)} still run")
            if time.monotonic() > deadline:
                raise RestoreUnavailable(
                    f"pods of {', '.join(self._names)} still run after {human_seconds(PODS_GONE_S)}",
                    hint="kubectl get pods says which; end them, then run it again",
                )
            time.sleep(LOOK_EVERY_S)

    def let(self, how: str) -> None:
        """What somebody scaled up meanwhile is left as it is."""
        for name, count in _COUNT.findall(how):
            if int(count) and not self._read([name])[name].replicas:
                self._scale(name, int(count))

    def _read(self, names: list[str] | None = None) -> dict[str, Live]:
        try:
            with opened(self._job) as deployments:
                return {name: deployments.read(name) for name in names or self._names}
        except SourceError as error:
            raise RestoreUnavailable(error.message, hint=error.hint) from error

    def _scale(self, name: str, replicas: int) -> None:
        now = self._job.now()
        try:
            with opened(self._job) as deployments:
                live = deployments.read(name)
                if live.replicas == replicas:
                    return
                mark = Mark(
                    self._job.run.run_id, "scale", f"{replicas} replicas", f"{live.replicas} replicas", live.revision,
                    now, now + timedelta(seconds=PODS_GONE_S),
                )  # fmt: skip
                cause = f"upkeep: restore of {self._job.site.name}, by {self._job.run.actor}"
                deployments.scale(live, replicas, mark, cause, dry_run=False)
        except (SourceError, RolloutRefused) as error:
            raise RestoreUnavailable(error.message, hint=error.hint) from error


def write_stop_of(job: Job, section: Database, server: LiveServer, live: str) -> WriteStop | None:
    match section.stop_writes:
        case None:
            return None
        case ScaleToZero() as hook:
            return ScaledToZero(job, hook.scale_to_zero)
        case _:
            return ReadOnly(server, live)


def stop_that_did(job: Job, server: LiveServer, live: str, how: str) -> WriteStop:
    """The one that stopped writes, by what the ledger says of it: the site file may say otherwise since."""
    names = [name for name, _ in _COUNT.findall(how)]
    return ScaledToZero(job, names) if names else ReadOnly(server, live)


def stopped_at(job: Job, target: str) -> Row | None:
    """When Upkeep stopped writes, if nobody let them go on since. One that died counts: it may have come far."""
    stop = last_stop(job, target)
    return stop.started if stop else None


def last_stop(job: Job, target: str) -> Record | None:
    stop = job.last_act("stop_writes", target, lambda record: record.started.command != GO_ON)
    undone = job.last_act("let_write", target, lambda record: record.state == "done")
    return None if stop and undone and undone.started.seq > stop.started.seq else stop
