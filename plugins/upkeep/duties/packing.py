"""Compression and encryption around a stream: stock programs on both sides, so that a backup outlives Upkeep."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from upkeep.domain.endpoint import Endpoint
from upkeep.duties.job import Job
from upkeep.engines.pipeline import Command
from upkeep.engines.private_file import private_file
from upkeep.engines.tools import describe, require
from upkeep.errors import ToolFailed
from upkeep.site import Compression, Encryption

ZSTD = ".zst"
AGE = ".age"


def pack(compression: Compression, encryption: Encryption | None, *, share: int = 1) -> list[Command]:
    """The programs a stream passes through on its way into the store; ``share`` streams at a time share the threads."""
    threads = compression.threads // share
    # -T1 hands every block to a second thread: a quarter more of processor for the same bytes.
    how = f"-T{threads}" if threads > 1 else "--single-thread"
    commands = [Command([_zstd(), "-q", "-c", how, f"-{compression.level}"])]
    if encryption:
        recipients = [word for key in encryption.recipients for word in ("--recipient", key)]
        commands.append(Command([_age(), "--encrypt", *recipients]))
    return commands


def packed_name(stream: str, encryption: Encryption | None) -> str:
    return f"{stream}{ZSTD}{AGE if encryption else ''}"


@contextmanager
def unpack(name: str, identity: Endpoint | None) -> Iterator[list[Command]]:
    """The programs that turn a stored file back into its stream.

    ``identity``: an endpoint whose secret is the age private key, needed for names that end in ``.age``.
    """
    zstd = Command([_zstd(), "-q", "-d", "-c"])
    if not name.endswith(AGE):
        yield [zstd]
        return
    if identity is None:
        raise ValueError(f"{name} is encrypted: unpacking it needs an identity")
    with private_file(f"{identity.secret}\n") as key:
        yield [Command([_age(), "--decrypt", "--identity", f"/dev/fd/{key}"], pass_fds=(key,)), zstd]


def identity_of(job: Job) -> Endpoint | None:
    """The private key that the site names; None where it names none. Errors: ``ConnectionUnknown``."""
    encryption = job.site.encryption
    return job.connect(encryption.identity_conn_id) if encryption and encryption.identity_conn_id else None


def is_about_the_key(error: ToolFailed) -> bool:
    """Whether age could not even begin: the identity can't be read, or it is none of the file's recipients."""
    return (
        re.search("no identity matched|no secret keys found|malformed secret key|unknown identity", error.stderr)
        is not None
    )


def unpack_line(name: str) -> str:
    """The shell words that print a stored file's stream, for the manifest's restore line."""
    file = shlex.quote(name)
    if name.endswith(AGE):
        return f"age --decrypt --identity key.txt {file} | zstd -d -c"
    return f"zstd -d -c {file}"


def packing_tools(encryption: Encryption | None) -> dict[str, str]:
    tools = {"zstd": describe(_zstd()).label}
    return {**tools, "age": describe(_age()).label} if encryption else tools


def _zstd() -> str:
    return require("zstd", package="zstd")


def _age() -> str:
    return require("age", package="age")
