"""Certificates that end soon: in files, and as servers show them. Whether anyone trusts them isn't looked at here."""

from __future__ import annotations

import os
import socket
import ssl
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from upkeep.domain.findings import Inspection
from upkeep.domain.units import human_bytes
from upkeep.engines.degrading import degrading

SUFFIXES = (".crt", ".cer", ".pem", ".cert")
LARGEST_BYTES = 1 << 20
MOST_FILES = 2000
CONNECT_S = 10.0
URGENT_DAYS = 7
KIND = "certificate-ending"


def certificates_in(paths: Iterable[str | Path], *, now: datetime, days: int) -> Inspection:
    """Files of certificates, and those in folders by their suffix. Of a chain the one that ends first counts.

    Links to files are followed, for that is how ACME clients hand certificates out; links to folders aren't.
    """
    inspection = Inspection()
    for path in map(Path, paths):
        files = list(_files(path, inspection)) if path.is_dir() else [path]
        for file in files:
            with degrading(inspection.unread, f"certificate {file}", (OSError, ValueError)):
                if found := _parsed(file, must=file == path):
                    first = min(found, key=lambda certificate: certificate.not_valid_after_utc)
                    _judge(inspection, str(file), first, now, days, "renew it, and reload what serves it")
    return inspection


def certificates_of(endpoints: Iterable[tuple[str, int]], *, now: datetime, days: int) -> Inspection:
    """What servers show to whoever connects, by host and port."""
    inspection = Inspection()
    for host, port in endpoints:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        with degrading(inspection.unread, f"certificate of {where}", (OSError, ValueError)):
            shown = x509.load_der_x509_certificate(_served(host, port))
            _judge(inspection, where, shown, now, days, "renew it, and check that the server has loaded the new one")
    return inspection


def _judge(
    inspection: Inspection, where: str, certificate: x509.Certificate, now: datetime, days: int, remedy: str
) -> None:
    end = certificate.not_valid_after_utc
    left = (end - now.astimezone(UTC)).total_seconds() / 86_400
    if left >= days:
        return
    name = name_of(certificate)
    when = f"ended {-left:.0f} days ago" if left < 0 else f"ends in {left:.0f} days"
    what = f"certificate of {name} in {where} {when} ({end:%Y-%m-%d})"
    inspection.add(KIND, where, "high" if left < URGENT_DAYS else "medium", what, remedy)


def name_of(certificate: x509.Certificate) -> str:
    """Its first host name, else its subject."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if found := names.get_values_for_type(x509.DNSName):
            return found[0]
    except x509.ExtensionNotFound:
        pass
    return certificate.subject.rfc4514_string() or "nobody"


def _files(folder: Path, inspection: Inspection) -> Iterator[Path]:
    count = 0
    for parent, folders, names in os.walk(folder, onerror=lambda error: _say(inspection, error)):
        folders.sort()
        for name in sorted(names):
            if not name.lower().endswith(SUFFIXES):
                continue
            count += 1
            if count > MOST_FILES:
                inspection.unread.append(f"certificates in {folder} (more than {MOST_FILES} files)")
                return
            yield Path(parent, name)


def _say(inspection: Inspection, error: OSError) -> None:
    inspection.unread.append(f"certificates in {error.filename} ({error.strerror})")


def _parsed(path: Path, *, must: bool) -> list[x509.Certificate]:
    """The certificates of one file; none where it holds something else and nobody said it ``must``."""
    # NONBLOCK: a pipe that somebody called x.pem would otherwise be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a file")
        data = file.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        raise ValueError(f"more than {human_bytes(LARGEST_BYTES)}")
    if b"-----BEGIN CERTIFICATE-----" in data:
        return x509.load_pem_x509_certificates(data)
    if data[:1] == b"\x30":  # DER: a sequence
        return [x509.load_der_x509_certificate(data)]
    if must:
        raise ValueError("holds no certificate")
    return []


def _served(host: str, port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only its dates are read
    with (
        socket.create_connection((host, port), timeout=CONNECT_S) as raw,
        context.wrap_socket(raw, server_hostname=host) as wrapped,
    ):
        der = wrapped.getpeercert(binary_form=True)
    if der is None:
        raise ValueError("it shows none")
    return der
