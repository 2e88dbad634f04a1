"""What an engine can do with the live server when a database on it goes back to an earlier state.

``mysql_live.MySqlLive(endpoint)`` and ``postgres_live.PostgresLive(endpoint)`` implement it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

State = Literal["before", "begun", "done"]
"""How far a swap has come, by what the server itself says."""


@dataclass(frozen=True)
class Swapped:
    """``old``: what the database that was live is called now; empty when there was none."""

    old: str
    notes: tuple[str, ...] = ()


class LiveServer(ABC):
    """One live server. Errors of every method: ``RestoreUnavailable`` for what the server or the account doesn't let
    happen; ``RestoreRefused`` for what a person has to settle first.
    """

    secrets: tuple[str, ...] = ()

    @abstractmethod
    def exists(self, database: str) -> bool: ...

    @abstractmethod
    def obstacles(self, database: str) -> list[str]:
        """What keeps this database from being swapped."""

    @abstractmethod
    def remarks(self, database: str) -> list[str]:
        """What a person has to know before it is."""

    @abstractmethod
    def writes_are_stopped(self, database: str) -> bool: ...

    def exempt(self) -> list[str]:
        """Accounts, but for the own one, that may write although writes are stopped."""
        return []

    def writers(self, database: str) -> list[str]:
        """Sessions on it that could write although writes are stopped."""
        return []

    @abstractmethod
    def stop_writes(self, database: str) -> None:
        """Let nobody but this account write to ``database`` until ``let_write``, past the end of this process too."""

    @abstractmethod
    def let_write(self, database: str) -> None:
        """Undo ``stop_writes``; no error where nothing was stopped or the database is gone."""

    @abstractmethod
    def swap_state(self, live: str, new: str, old: str) -> State: ...

    def tidy(self, new: str) -> None:
        """Remove from ``new`` what a swap that was killed before it began has written there."""
        return

    @abstractmethod
    def swap(self, live: str, new: str, old: str) -> Swapped:
        """Put ``new`` in the place of ``live``, which stays as ``old``. Where there is no ``live``, only the first, and
        ``old`` is empty.

        The step that counts is one atomic statement or transaction of the server's: at any moment, also after a kill,
        either all of the old or all of the new is live. Called again it finishes what was begun, under the name for the
        old that was chosen then.
        """
