"""On which ports this machine can be reached over the network, from the kernel's own tables."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from upkeep.domain.findings import Inspection
from upkeep.engines.degrading import degrading

_LISTENING = "0A"
_WORD = 8


def open_ports(expected: Collection[int] | None, *, proc: Path = Path("/proc")) -> Inspection:
    """TCP ports that something listens on at another address than the loop's own: one finding for each.

    :param expected: ports that may be open, which are no findings, while any other is medium; None: nobody has said.
    """
    inspection = Inspection()
    found: defaultdict[int, set[str]] = defaultdict(set)
    with degrading(inspection.unread, "open ports", (OSError, ValueError, LookupError)):
        tables = [proc / "net" / "tcp", *(path for path in [proc / "net" / "tcp6"] if path.exists())]
        for address, port in (listener for table in tables for listener in _listeners(table)):
            if not address.is_loopback:
                found[port].add(str(address))
    for port, addresses in sorted(found.items()):
        if expected is None or port not in expected:
            inspection.add(
                "open-port",
                f"{port}/tcp",
                "low" if expected is None else "medium",
                f"something listens on port {port}/tcp ({', '.join(sorted(addresses))})",
                f"ss -lntp 'sport = {port}' names it: bind it to 127.0.0.1, or shut the port in the firewall; if it is "
                "meant, list it in security.ports",
            )
    return inspection


def _listeners(table: Path) -> Iterator[tuple[IPv4Address | IPv6Address, int]]:
    for line in table.read_text().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        if state == _LISTENING:
            address, _, port = local.partition(":")
            # Words of four bytes, each in the order of the machine.
            words = [int(address[at : at + _WORD], 16) for at in range(0, len(address), _WORD)]
            found = ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
            yield getattr(found, "ipv4_mapped", None) or found, int(port, 16)
