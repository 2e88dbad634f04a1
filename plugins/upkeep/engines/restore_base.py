"""What an engine can do with a server: load one backup into a database of its own there, and take it away.

``mysql_restore.MySqlRestorer(endpoint)`` and ``postgres_restore.PostgresRestorer(endpoint)`` implement it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.manifest import Manifest

Read = Callable[[str], Iterator[bytes]]
"""Stream name of the manifest -> that file's decrypted, decompressed bytes, in chunks of any size.

Called once per stream at the most, for several streams at once from several threads. An iterator that isn't read to its
end is closed. Whatever it raises ends the load and comes out of it unchanged: what is wrong with a stored file is for
the caller to say.
"""


@dataclass(frozen=True)
class Loaded:
    """One backup in ``database``. ``seconds`` by phase, in the order they began; phases may overlap."""

    database: str
    seconds: dict[str, float] = field(default_factory=dict)
    bytes: int = 0
    """Plain bytes read from all streams."""
    notes: tuple[str, ...] = ()
    """What a reader of the proof has to know: what the account may not do, roles that were made, tablespaces."""


class Restorer(ABC):
    """One server: a scratch server, or with ``live`` the one that people work on.

    What is loaded into a live server is there to be used: replicas are to have it too, roles that it needs stay, and it
    has all that the backup knows of the database itself.

    Errors of every method: ``RestoreUnavailable`` when the server, its disk, its release or this worker's programs are
    the reason (it says nothing about the backup), ``ProofFailed`` when the server refuses what is in the backup,
    ``Stopped`` when the task was told to stop.
    """

    endpoint: Endpoint
    secrets: tuple[str, ...] = ()
    live: bool = False

    @property
    def place(self) -> str:
        """What it is called in messages."""
        return "the live server" if self.live else "the scratch server"

    @abstractmethod
    def identity(self) -> str:
        """Tells two servers apart whatever their names; the form of ``manifest.source["identity"]``. May be empty."""

    @abstractmethod
    def free_bytes(self) -> int | None:
        """Free disk where the server keeps its data; None when nobody can say."""

    @abstractmethod
    def databases(self) -> list[str]:
        """Every database on the server, the server's own ones left out."""

    @abstractmethod
    def load(
        self,
        manifest: Manifest,
        database: str,
        read: Read,
        *,
        folder: Path,
        jobs: int = 2,
        only: Collection[str] = (),
    ) -> Loaded:
        """Make ``database`` and fill it. When it fails, what there is of it is left for ``drop``.

        ``only``: the tables (by the manifest's names) whose rows are wanted; the others are made, but stay empty, and
        no foreign key is made on PostgreSQL or checked on MySQL.

        ``folder`` is the worker's own, for what has to lie on disk meanwhile (nothing has a name in it, so nothing is
        left when the task is killed); ``jobs`` is how many sessions work side by side. A database of that name that is
        there already is ``RestoreUnavailable``: nothing is written into a database that this call didn't make.
        """

    @abstractmethod
    def drop(self, database: str) -> None:
        """Remove the database, whoever is connected, and what loading made beside it; one that is gone is no error."""

    @abstractmethod
    def connect(self, database: str) -> Any:
        """An autocommitting session in ``database`` whose rows are dicts: PyMySQL's or psycopg's connection."""
