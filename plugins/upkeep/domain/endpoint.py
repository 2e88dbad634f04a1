"""Where a system is and how to log in: the plain value an Airflow connection becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Endpoint:
    """One server or store account. ``secret`` and ``extra`` never appear in ``repr``, so neither can reach a log."""

    conn_id: str
    kind: str = ""
    """Airflow's connection type: mysql, postgres, redis, sqlite, aws, generic..."""
    host: str = ""
    port: int | None = None
    user: str = ""
    secret: str = field(default="", repr=False)
    schema: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def address(self, usual_port: int) -> str:
        """``host:port`` or the path of its socket, as messages name a server."""
        return str(self.extra.get("unix_socket") or f"{self.host or 'localhost'}:{self.port or usual_port}")

    def secrets(self) -> tuple[str, ...]:
        """Every value that must be masked wherever text about this endpoint is shown."""
        hidden = [self.secret]
        hidden += [str(value) for key, value in self.extra.items() if _is_secret(key) and value]
        return tuple(text for text in hidden if text)


def _is_secret(key: str) -> bool:
    return any(
        word in key.lower() for word in ("secret", "password", "passwd", "token", "private", "identity", "key_id")
    )
