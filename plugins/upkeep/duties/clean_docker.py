"""Remove from a site's Docker engine what its rules let go: planned with a reason each, looked at again, never forced.

Each removal is one request of its own, of something that is found anew on the next run: it can be killed at any line.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from upkeep.domain.clean_docker import STOPPED, DockerRules, Item, has_label, plan_docker, users_of_images
from upkeep.domain.units import counted, cut, human_bytes
from upkeep.duties.job import Job
from upkeep.duties.until import CLOSED, WITHOUT_END, Until
from upkeep.engines.docker_api import DockerApi, Refused
from upkeep.errors import SourceError
from upkeep.site import Docker

log = logging.getLogger(__name__)

_SHOWN = 20
_STAYS_SHOWN = 5


def plan_clean_docker(job: Job) -> list[Item]:
    """What would go now, and why the rest stays. Errors: ``SourceError``."""
    if job.site.docker is None:
        return []
    with DockerApi(job.site.docker.url) as api:
        return plan_docker(_rules(job.site.docker), api.holdings(), job.now())


def clean_docker(job: Job, *, until: Until = WITHOUT_END, dry_run: bool = False) -> dict[str, Any]:
    """Carry out the plan, as far as it gets before ``until``.

    An engine that isn't there is recorded as skipped, and no error. Errors: ``Busy``, ``Stopped``.
    """
    docker = job.site.docker
    if docker is None:
        return {"site": job.site.name, "dry_run": dry_run, "removed": 0, "bytes": 0, "planned": 0}
    if dry_run:
        try:
            items = plan_clean_docker(job)
        except SourceError as error:
            return _skipped(job, error, dry_run=True)
        for item in items:
            log.info("%s", item.line())
        planned = [item for item in items if item.remove]
        return {
            "site": job.site.name, "dry_run": True, "removed": 0, "bytes": 0, "planned": len(planned),
            "light": "green", "summary": f"{len(planned)} of {len(items)} would be removed",
        }  # fmt: skip
    act = job.act("clean_docker", docker.url, command=f"clean {_in_words(docker)}")
    with job.hold("_state/clean_docker"), job.ledger.record(act) as entry:
        work, unreached = _Work(job, docker, until), None
        try:
            work.carry_out()
        except SourceError as error:
            unreached = error
            work.troubles.append(error.message)
        finally:
            entry.note(rows=work.removed, bytes=work.freed, **work.detail())
        if unreached and not work.removed:
            log.warning("%s", unreached)
            skipped = _skipped(job, unreached, dry_run=False)
            entry.note(light="amber", summary=skipped["summary"], hint=unreached.hint)
            entry.skip(f"{unreached.message}; {unreached.hint}")
            return skipped
        return {"site": job.site.name, "dry_run": False, **work.result()}


def _skipped(job: Job, error: SourceError, *, dry_run: bool) -> dict[str, Any]:
    return {
        "site": job.site.name, "dry_run": dry_run, "removed": 0, "bytes": 0, "planned": 0, "light": "amber",
        "summary": f"not cleaned: {error.message}", "hint": error.hint, "skipped": error.message,
    }  # fmt: skip


def _in_words(docker: Docker) -> str:
    ages = {"images": docker.images_h, "containers": docker.containers_h, "build cache": docker.build_cache_h}
    words = [f"{what} unused for {hours} h" for what, hours in ages.items() if hours is not None]
    return ", ".join([*words, *([f"volumes labelled {docker.volume_label}"] if docker.volume_label else [])])


def _rules(docker: Docker) -> DockerRules:
    return DockerRules(docker.images_h, docker.containers_h, docker.build_cache_h, docker.volume_label)


class _Work:
    def __init__(self, job: Job, docker: Docker, until: Until) -> None:
        self._job, self._docker, self._until = job, docker, until
        self._items: list[Item] = []
        self.removed = 0
        self.freed = 0
        self.gone: list[Item] = []
        self.records_gone = ""
        """In words: the engine itself picks them."""
        self.troubles: list[str] = []
        self._stopped = ""

    def carry_out(self) -> None:
        with DockerApi(self._docker.url) as api:
            self._items = plan_docker(_rules(self._docker), api.holdings(), self._job.now())
            for item in self._items:
                log.info("%s", item.line())
            layers = api.layers_bytes() if self._planned("image") else 0
            steps: tuple[tuple[str, Callable[[DockerApi, Item], str]], ...] = (
                ("container", self._container),
                ("image", self._image),
                ("volume", self._volume),
            )
            for kind, step in steps:
                for item in self._planned(kind):
                    if self._enough():
                        return
                    self._one(api, item, step)
            if self._planned("build cache") and not self._enough():
                self._build_cache(api)
            if layers:
                self.freed += max(0, layers - api.layers_bytes())

    def _planned(self, kind: str) -> list[Item]:
        return [item for item in self._items if item.remove and item.kind == kind]

    def _one(self, api: DockerApi, item: Item, step: Callable[[DockerApi, Item], str]) -> None:
        try:
            why_not = step(api, item)
        except Refused as refused:
            why_not = f"the engine refused: {refused}"
        if why_not:
            self.troubles.append(f"{item.kind} {item.name} stays: {why_not}")
            return
        self.removed += 1
        self.gone.append(item)
        if item.kind != "image":  # images share layers: what they give back is measured over all of them
            self.freed += item.size

    def _container(self, api: DockerApi, item: Item) -> str:
        now = api.container(item.id)
        if now is None:
            return "somebody else removed it"
        state, since = now
        if state not in STOPPED:
            return f"it is {state} now"
        hours = self._docker.containers_h or 0
        if (self._job.now() - since).total_seconds() < hours * 3600:
            return "it ran in the meantime"
        api.remove_container(item.id)
        return ""

    def _image(self, api: DockerApi, item: Item) -> str:
        image = api.image(item.id)
        if image is None:
            return "somebody else removed it"
        if users := users_of_images(api.containers()).get(item.id):
            return f"container {users[0]} uses it by now"
        if image.name != item.name:
            return f"it is called {image.name} by now"
        api.remove_image(image)
        return ""

    def _volume(self, api: DockerApi, item: Item) -> str:
        labels = api.volume_labels(item.id)
        if labels is None:
            return "somebody else removed it"
        if not has_label(labels, self._docker.volume_label or ""):
            return "another volume has its name by now"
        api.remove_volume(item.id)
        return ""

    def _build_cache(self, api: DockerApi) -> None:
        try:
            records, size = api.prune_build_cache(self._docker.build_cache_h or 0)
        except Refused as refused:
            self.troubles.append(f"build cache stays: {refused}")
            return
        self.removed += records
        self.freed += size
        if records:
            self.records_gone = f"remove {counted(records, 'record')} of the build cache, {human_bytes(size)}"

    def _enough(self) -> bool:
        self._until.require_going(f"things that may go from {self._docker.url} are left")
        if self._until.is_over(self._job.now()):
            self._stopped = CLOSED
        return bool(self._stopped)

    def result(self) -> dict[str, Any]:
        planned = sum(item.remove for item in self._items)
        summary = f"{self.removed} removed, {human_bytes(self.freed)} given back; {len(self._items) - planned} stay"
        if self.troubles:
            summary += f"; {len(self.troubles)} could not be: {self.troubles[0]}"
        if self._stopped:
            summary += f"; {self._stopped}, the rest is for next time"
        return {
            "light": "amber" if self.troubles or self._stopped else "green",
            "summary": summary,
            "hint": "look at docker ps -a and docker images on that machine" if self.troubles else "",
            "removed": self.removed,
            "bytes": self.freed,
            "planned": planned,
            "stopped": self._stopped,
        }

    def detail(self) -> dict[str, Any]:
        result = self.result()
        return {
            **{name: result[name] for name in ("light", "summary", "hint", "planned", "stopped")},
            "gone": [*(cut(item.line(), 200) for item in self.gone[:_SHOWN]), *filter(None, [self.records_gone])],
            "stays": [cut(item.line(), 200) for item in self._items if not item.remove][:_STAYS_SHOWN],
            "troubles": [cut(trouble, 200) for trouble in self.troubles[:5]],
        }
