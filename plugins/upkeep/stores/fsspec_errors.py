"""What any filesystem may raise, turned into errors that name the object and the next action."""

from __future__ import annotations

import errno

from upkeep.domain.units import counted
from upkeep.errors import ObjectMissing, StoreDenied, StoreError, StoreFull, StoreUnreachable

_DISCONNECTED = frozenset(
    {"gaierror", "FSTimeoutError", "ClientConnectionError", "ClientPayloadError", "HTTPClientError"}
)
"""Lost connections that are neither ``ConnectionError`` nor ``TimeoutError``, by name because their libraries need not
be installed: those of socket, fsspec, aiohttp (below s3fs, gcsfs, adlfs) and botocore (below s3fs)."""
_NETWORK = frozenset({errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ESTALE})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_passing(error: Exception) -> bool:
    """Whether a later try may succeed: the connection was lost, refused, or too slow."""
    return (
        isinstance(error, ConnectionError | TimeoutError)
        or getattr(error, "errno", None) in _NETWORK
        or any(kind.__name__ in _DISCONNECTED for kind in type(error).__mro__)
    )


def is_a_bug(error: Exception) -> bool:
    """Whether it is one of Python's own that says nothing about a store: ``TypeError``, ``KeyError`` ..."""
    return type(error).__module__ == "builtins" and not isinstance(error, OSError)


def refusal(error: Exception, failed: str, tries: int) -> StoreError:
    """Our error for theirs.

    :param failed: what was attempted, as in ``can't read s3://bucket/key``.
    """
    why = f"{failed}: {type(error).__name__}: {error}"
    if is_passing(error):
        return StoreUnreachable(
            f"{why} (after {counted(tries, 'try')})",
            hint="check network, proxy and the host in the store's connection, then run the task again",
        )
    if isinstance(error, FileNotFoundError):
        return ObjectMissing(
            f"{failed}: it does not exist",
            hint="upkeep backups lists what the store holds; if even that fails, its bucket or folder is missing",
        )
    if getattr(error, "errno", None) in _FULL:
        return StoreFull(why, hint="free space there, or raise the account's quota")
    if isinstance(error, PermissionError):
        return StoreDenied(why, hint="let the account of the store's connection list, read, write and delete there")
    return StoreError(why, hint="check the store's url in the site file, and its connection")
