"""Logins over SSH that failed, by the address they came from: from the log file, or from the journal."""

from __future__ import annotations

import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

from upkeep.domain.findings import Inspection
from upkeep.engines.degrading import in_a_line
from upkeep.engines.pipeline import Command, run
from upkeep.errors import ToolError

LOGS = ("var/log/auth.log", "var/log/secure")
MOST_BYTES = 512 << 20
"""Of one file, from its end."""
MOST_ADDRESSES = 100_000

# Greedy up to the last "from": whoever logs in chooses the name, and could write an address of his own into it.
_LOGIN = re.compile(rb"(Failed|Accepted) (?:password|keyboard-interactive/pam) for .* from (\S{1,64}) port \d+")
_REPEATED = re.compile(rb"message repeated (\d{1,6}) times: \[")
_SSHD = re.compile(rb" sshd(?:-session)?\[\d+\]: ")
_OLD_STAMP = re.compile(rb"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d ")


def failed_logins(
    since: datetime,
    *,
    now: datetime,
    limit: int,
    root: Path = Path("/"),
    journal: Sequence[str] = ("journalctl",),
    zone: tzinfo | None = None,
) -> Inspection:
    """Addresses with at least ``limit`` failed logins since a moment; one that got in afterwards is high.

    :param root: where ``var/log`` is.
    :param journal: the program that reads the journal, asked where no log file can be read.
    :param zone: of log lines that don't tell theirs; default: the machine's.
    """
    inspection, tally = Inspection(), _Tally()
    problems: list[str] = []
    for log in (root / name for name in LOGS):
        try:
            if log.stat().st_mtime < since.timestamp():  # left by a syslog that is gone: the journal has it all
                problems.append(f"{log} has not been written to since the last look")
                continue
            for line in _lines(log, since):
                at = _moment(line, now, zone)
                if at and since <= at <= now + timedelta(minutes=5) and _SSHD.search(line):
                    tally.take(line)
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(in_a_line(error))
            continue
        break
    else:
        try:
            for line in _from_journal(journal, since):
                tally.take(line)
        except (ToolError, OSError) as error:
            said = error.message if isinstance(error, ToolError) else in_a_line(error)
            inspection.unread.append(f"failed logins ({'; '.join([*problems, said])})")
            return inspection
    tally.judge(inspection, limit, since)
    return inspection


class _Tally:
    def __init__(self) -> None:
        self.failed: Counter[str] = Counter()
        self.got_in: set[str] = set()

    def take(self, line: bytes) -> None:
        login = _LOGIN.search(line)
        if not login:
            return
        address = login[2].decode("ascii", "backslashreplace")
        if login[1] == b"Accepted":
            if self.failed[address]:
                self.got_in.add(address)
        elif address in self.failed or len(self.failed) < MOST_ADDRESSES:
            repeated = _REPEATED.search(line)
            self.failed[address] += int(repeated[1]) if repeated else 1

    def judge(self, inspection: Inspection, limit: int, since: datetime) -> None:
        self.failed += Counter()  # drops the zeros that looking left
        inspection.figures = {"failed_logins": self.failed.total(), "failed_logins_addresses": len(self.failed)}
        for address, count in self.failed.items():
            if count < limit:
                continue
            told = f"{count} logins from {address} failed since {since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
            if address in self.got_in:
                inspection.add(
                    "guessed-login",
                    address,
                    "high",
                    f"{told}, and then one succeeded",
                    f"find out who that was (last, journalctl -t sshd | grep {address}), and change that password",
                )
            else:
                inspection.add(
                    "failed-logins",
                    address,
                    "medium",
                    told,
                    "shut it out (fail2ban, the firewall), and let SSH take keys only: PasswordAuthentication no",
                )


def _lines(log: Path, since: datetime) -> Iterator[bytes]:
    """Of the file, and before it of those that were rotated away since: ``auth.log.1``, ``secure-20261115``."""
    for path in (*sorted(log.parent.glob(f"{log.name}[.-]*")), log):
        try:
            state = path.stat()
        except FileNotFoundError:
            continue  # nothing was rotated away
        if state.st_mtime < since.timestamp() or not stat.S_ISREG(state.st_mode):
            continue
        with path.open("rb") as file:
            if state.st_size > MOST_BYTES:
                file.seek(-MOST_BYTES, 2)
                file.readline(MOST_BYTES)
            while line := file.readline(1 << 16):
                yield line


def _moment(line: bytes, now: datetime, zone: tzinfo | None) -> datetime | None:
    """When a line was written: ISO 8601 as rsyslog writes today, or as it used to, ``Nov 21 18:00:00`` and no year."""
    try:
        if line[:1].isdigit():
            moment = datetime.fromisoformat(line[:64].split(b" ", 1)[0].decode("ascii"))
            return moment if moment.tzinfo else None
        if not _OLD_STAMP.match(line):
            return None
        here = now.astimezone(zone)
        moment = _with_year(line, here.year, here.tzinfo)
        return moment if moment <= now + timedelta(days=1) else _with_year(line, here.year - 1, here.tzinfo)
    except ValueError:
        return None


def _with_year(line: bytes, year: int, zone: tzinfo | None) -> datetime:
    return datetime.strptime(f"{year} {line[:15].decode('ascii')}", "%Y %b %d %H:%M:%S").replace(tzinfo=zone)


def _from_journal(journal: Sequence[str], since: datetime) -> Iterator[bytes]:
    """Errors: ``ToolError``, ``OSError``, and ``OSError`` where the journal shows this account only its own lines."""
    kept = bytearray()
    ended = run(
        [Command([*journal, "--no-pager", "--output=cat", f"--since=@{since.timestamp():.0f}", "-t", "sshd",
                  "-t", "sshd-session"])],
        lambda chunk: _keep(kept, chunk),
    )  # fmt: skip
    said = " ".join(end.stderr for end in ended)
    if "not seeing messages" in said or "No journal files" in said:
        raise PermissionError(1, "the journal shows this account only its own lines: add it to the group adm")
    yield from bytes(kept).splitlines()


def _keep(kept: bytearray, chunk: bytes) -> None:
    if len(kept) + len(chunk) > MOST_BYTES // 8:
        raise OSError("the journal holds too many lines since then")
    kept.extend(chunk)
