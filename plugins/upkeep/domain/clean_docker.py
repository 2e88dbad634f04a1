"""What may be removed from a Docker engine, and why everything else stays.

Docker's own prune goes by the day an image was built or a container created. An image built last year and pulled an
hour ago for tonight's rollout would go, and so would a container that ran for a year and stopped a minute ago. Here an
image ages from when it came to this machine, as far as the engine tells (not every kind of image store notes when one
was pulled), a container from when it stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from upkeep.domain.units import human_bytes, human_seconds, utc

Kind = Literal["container", "image", "build cache", "volume"]
STOPPED = ("created", "exited", "dead")
BEGINNING = datetime(2013, 3, 20, tzinfo=UTC)
"""Of Docker. Builds that are to be the same each time date their images before it, or not at all."""


@dataclass(frozen=True)
class DockerRules:
    """See ``site.Docker``; what is None is left alone altogether."""

    images_h: int | None = None
    containers_h: int | None = None
    build_cache_h: int | None = None
    volume_label: str | None = None


@dataclass(frozen=True)
class Container:
    """``since``: when it stopped, or was created if it never ran; None when it is at work."""

    id: str
    name: str
    image_id: str
    state: str
    since: datetime | None
    size: int


@dataclass(frozen=True)
class Image:
    """``since``: when it was built, or later came to this machine, where ``came`` says that this is known. ``size``
    counts layers that others share.
    """

    id: str
    tags: tuple[str, ...]
    since: datetime
    size: int
    came: bool = False

    @property
    def name(self) -> str:
        return ", ".join(self.tags) or self.id.removeprefix("sha256:")[:12]


@dataclass(frozen=True)
class CacheRecord:
    id: str
    in_use: bool
    used_at: datetime
    size: int


@dataclass(frozen=True)
class Volume:
    """``users``: containers that mount it, stopped ones too; None when the engine doesn't know."""

    name: str
    labels: Mapping[str, str]
    users: int | None
    size: int


@dataclass(frozen=True)
class Holdings:
    """What an engine holds."""

    containers: tuple[Container, ...] = ()
    images: tuple[Image, ...] = ()
    cache: tuple[CacheRecord, ...] = ()
    volumes: tuple[Volume, ...] = ()


@dataclass(frozen=True)
class Item:
    kind: Kind
    id: str
    name: str
    size: int
    remove: bool
    reason: str

    def line(self) -> str:
        return f"{'remove' if self.remove else 'keep'} {self.kind} {self.name}, {human_bytes(self.size)}: {self.reason}"


def plan_docker(rules: DockerRules, held: Holdings, now: datetime) -> list[Item]:
    """One item for everything that the rules speak of, with a reason; containers first, since they hold the rest."""
    moment = utc(now, "now")
    items: list[Item] = []
    if rules.containers_h is not None:
        items += [_container(one, rules.containers_h, moment) for one in held.containers]
    if rules.images_h is not None:
        used = users_of_images(held.containers)
        items += [_image(one, used.get(one.id, ()), rules.images_h, moment) for one in held.images]
    if rules.build_cache_h is not None:
        items += [_cache(one, rules.build_cache_h, moment) for one in held.cache]
    if rules.volume_label is not None:
        items += [_volume(one, rules.volume_label) for one in held.volumes]
    return items


def users_of_images(containers: Iterable[Container]) -> dict[str, Sequence[str]]:
    used: dict[str, list[str]] = {}
    for container in containers:
        used.setdefault(container.image_id, []).append(container.name)
    return dict(used)


def _container(container: Container, hours: int, now: datetime) -> Item:
    def item(remove: bool, reason: str) -> Item:
        return Item("container", container.id, container.name, container.size, remove, reason)

    if container.state not in STOPPED or container.since is None:
        return item(False, f"it is {container.state}")
    form = "never started for {}" if container.state == "created" else "stopped for {}"
    return item(*_by_age(form, container.since, hours, now))


def _image(image: Image, users: Sequence[str], hours: int, now: datetime) -> Item:
    def item(remove: bool, reason: str) -> Item:
        return Item("image", image.id, image.name, image.size, remove, reason)

    if users:
        more = f" and {len(users) - 1} more" if len(users) > 1 else ""
        return item(False, f"container {users[0]}{more} uses it")
    if utc(image.since, "since") < BEGINNING:
        return item(False, "unused, but nobody knows since when it is here")
    form = "unused; here for {}" if image.came else "unused; built {} ago (the engine doesn't say when it came)"
    return item(*_by_age(form, image.since, hours, now))


def _cache(record: CacheRecord, hours: int, now: datetime) -> Item:
    def item(remove: bool, reason: str) -> Item:
        return Item("build cache", record.id, record.id[:12], record.size, remove, reason)

    if record.in_use:
        return item(False, "a build uses it")
    return item(*_by_age("unused for {}", record.used_at, hours, now))


def _volume(volume: Volume, label: str) -> Item:
    def item(remove: bool, reason: str) -> Item:
        return Item("volume", volume.name, volume.name, volume.size, remove, reason)

    if not has_label(volume.labels, label):
        return item(False, f"it doesn't carry the label {label}")
    if volume.users is None:
        return item(False, "the engine doesn't say whether a container uses it")
    if volume.users:
        return item(False, "1 container uses it" if volume.users == 1 else f"{volume.users} containers use it")
    return item(True, f"no container uses it, and it carries the label {label}")


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    key, has_value, value = wanted.partition("=")
    return key in labels and (not has_value or labels[key] == value)


def _by_age(form: str, since: datetime, hours: int, now: datetime) -> tuple[bool, str]:
    """``form``: the reason, with braces for the age."""
    age = now - utc(since, "since")
    said, limit = form.format(human_seconds(max(0.0, age.total_seconds()))), human_seconds(hours * 3600)
    if age < timedelta(hours=hours):
        return False, f"{said}, less than {limit}"
    return True, f"{said}, more than {limit}"
