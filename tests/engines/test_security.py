"""Each reading of the security review, on real files and real servers."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.places import free_port
from tests.servers.redis_server import RedisServer
from upkeep.domain.endpoint import Endpoint
from upkeep.domain.findings import Inspection
from upkeep.engines import security_files
from upkeep.engines.mysql_engine import MySqlEngine
from upkeep.engines.postgres_engine import PostgresEngine
from upkeep.engines.redis_engine import RedisEngine
from upkeep.engines.security_certificates import certificates_in, certificates_of
from upkeep.engines.security_files import exposed_backups, loose_files
from upkeep.engines.security_logins import failed_logins
from upkeep.engines.security_mysql import mysql_accounts
from upkeep.engines.security_ports import open_ports
from upkeep.engines.security_postgres import postgres_roles
from upkeep.engines.security_redis import redis_access
from upkeep.engines.security_updates import waiting_updates
from upkeep.errors import SourceError

NOW = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
CHINA = timezone(timedelta(hours=8))


def told(inspection: Inspection) -> set[tuple[str, str, str]]:
    """Kind, place and severity of each finding."""
    return {(one.kind, one.where, one.severity) for one in inspection.findings}


# Certificates.


def certificate(days: float, name: str = "app.example.com") -> tuple[bytes, bytes]:
    """A certificate that ends so many days from NOW, and its key, both as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=400))
        .not_valid_after(NOW + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), secret


@pytest.mark.parametrize(
    ("days", "severity", "words"),
    [(-3, "high", "ended 3 days ago"), (6, "high", "ends in 6 days"), (20, "medium", "ends in 20 days")],
)
def test_a_certificate_that_ends_soon_is_found_with_its_name_and_day(
    tmp_path: Path, days: float, severity: str, words: str
) -> None:
    file = tmp_path / "app.crt"
    file.write_bytes(certificate(days)[0])
    (found,) = certificates_in([file], now=NOW, days=21).findings
    assert (found.id, found.severity) == (f"certificate-ending:{file}", severity)
    assert f"certificate of app.example.com in {file} {words} (2026-" in found.what


def test_a_certificate_that_lasts_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "app.crt").write_bytes(certificate(22)[0])
    assert certificates_in([tmp_path], now=NOW, days=21) == Inspection()


def test_of_a_chain_the_one_that_ends_first_counts(tmp_path: Path) -> None:
    (tmp_path / "chain.pem").write_bytes(certificate(300)[0] + certificate(5, "the issuer")[0])
    (found,) = certificates_in([tmp_path], now=NOW, days=21).findings
    assert "the issuer" in found.what


def test_a_folder_is_searched_by_suffix_links_of_acme_clients_included(tmp_path: Path) -> None:
    live, archive = tmp_path / "live" / "app", tmp_path / "archive"
    live.mkdir(parents=True)
    archive.mkdir()
    (archive / "chain1.bin").write_bytes(certificate(5)[0])
    (live / "fullchain.pem").symlink_to(archive / "chain1.bin")
    (live / "privkey.pem").write_bytes(certificate(5)[1])
    (live / "der.cer").write_bytes(
        x509.load_pem_x509_certificate(certificate(5)[0]).public_bytes(serialization.Encoding.DER)
    )
    (live / "readme.txt").write_bytes(certificate(5)[0])
    inspection = certificates_in([tmp_path], now=NOW, days=21)
    assert {Path(one.where).name for one in inspection.findings} == {"fullchain.pem", "der.cer"}
    assert inspection.unread == []


def test_what_holds_no_certificate_though_the_site_names_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(certificate(5)[1])
    (tmp_path / "broken.crt").write_bytes(b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n")
    (tmp_path / "whole.crt").write_bytes(certificate(5)[0])
    os.mkfifo(tmp_path / "pipe.crt")
    paths = [tmp_path / name for name in ("key.pem", "broken.crt", "missing.crt", "pipe.crt", "whole.crt")]
    inspection = certificates_in(paths, now=NOW, days=21)
    assert [one.where for one in inspection.findings] == [str(tmp_path / "whole.crt")]
    assert len(inspection.unread) == 4
    assert f"certificate {tmp_path / 'key.pem'} (holds no certificate)" in inspection.unread


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[int]:
    """A TLS server whose certificate nobody trusts and which ends in five days; its port."""
    for path, data in zip((tmp_path / "crt", tmp_path / "key"), certificate(5), strict=True):
        path.write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(raw, server_side=True).close()
            except OSError:
                raw.close()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_the_certificate_a_server_shows_is_read_though_nobody_trusts_it(tls_server: int) -> None:
    closed = free_port()
    inspection = certificates_of([("127.0.0.1", tls_server), ("127.0.0.1", closed)], now=NOW, days=21)
    assert told(inspection) == {("certificate-ending", f"127.0.0.1:{tls_server}", "high")}
    assert inspection.unread == [f"certificate of 127.0.0.1:{closed} (Connection refused)"]


# Ports.


def test_a_port_that_the_network_can_reach_is_found_and_one_of_the_loop_is_not() -> None:
    with (
        socket.create_server(("", 0)) as open_to_all,
        socket.create_server(("127.0.0.1", 0)) as of_the_loop,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as of_the_other_loop,
    ):
        to_all, loop, other = (one.getsockname()[1] for one in (open_to_all, of_the_loop, of_the_other_loop))
        inspection = open_ports(None)
        expected = open_ports([to_all])
    found = {one.where: one for one in inspection.findings}
    assert inspection.unread == []
    assert (found[f"{to_all}/tcp"].severity, "(0.0.0.0)" in found[f"{to_all}/tcp"].what) == ("low", True)
    assert not {f"{loop}/tcp", f"{other}/tcp"} & set(found)
    assert f"{to_all}/tcp" not in {one.where for one in expected.findings}


def test_what_listens_at_addresses_of_either_kind_is_one_port_and_another_than_expected_is_medium(
    tmp_path: Path,
) -> None:
    (tmp_path / "net").mkdir()
    head, rest = "  sl  local_address\n", "00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1\n"
    (tmp_path / "net" / "tcp").write_text(f"{head}   0: 0100A8C0:1F90 {rest}   1: 0100A8C0:0016 {rest}")
    mapped = "0000000000000000FFFF00000100007F"  # 127.0.0.1 as an IPv6 socket has it
    (tmp_path / "net" / "tcp6").write_text(f"{head}   0: {'0' * 32}:1F90 {rest}   1: {mapped}:2328 {rest}")
    (found,) = open_ports([22], proc=tmp_path).findings
    assert (found.id, found.severity) == ("open-port:8080/tcp", "medium")
    assert "(192.168.0.1, ::)" in found.what


def test_a_machine_that_does_not_tell_its_ports_is_said(tmp_path: Path) -> None:
    (problem,) = open_ports(None, proc=tmp_path).unread
    assert problem.startswith("open ports (No such file or directory")


# Files.


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every account of the machine can enter, as /etc is; pytest's own can't be."""
    folder = Path(tempfile.mkdtemp(prefix="upkeep-review-", dir="/tmp")).resolve()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def put(path: Path, mode: int, content: bytes = b"x") -> Path:
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir()
            parent.chmod(0o755)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_files_and_folders_that_anyone_can_change_are_found(reachable: Path) -> None:
    file = put(reachable / "app" / "settings.ini", 0o666)
    put(reachable / "app" / "fine.ini", 0o664)
    folder = reachable / "plugins"
    folder.mkdir()
    folder.chmod(0o777)
    shared = reachable / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    inspection = loose_files([reachable])
    assert told(inspection) == {("world-writable", str(file), "high"), ("world-writable", str(folder), "high")}
    assert inspection.findings[0].remedy.startswith("chmod o-w ")
    assert inspection.unread == []


def test_a_name_that_is_a_command_runs_nothing_when_the_remedy_is_typed(reachable: Path) -> None:
    file = put(reachable / "$(touch gone); a 店.ini", 0o666)
    (found,) = loose_files([reachable]).findings
    subprocess.run(["sh", "-c", found.remedy], check=True, cwd=reachable)
    assert [path.name for path in reachable.iterdir()] == [file.name]
    assert stat.S_IMODE(file.stat().st_mode) == 0o664


@pytest.mark.parametrize(
    "content",
    [certificate(5)[1], b"x" * 9000 + certificate(5)[1], b"# made\nAGE-SECRET-KEY-1QQQ\n", b"PuTTY-User-Key-File-3: x"],
    ids=["pem", "behind a chain", "age", "putty"],
)
def test_a_private_key_that_anyone_can_read_is_found_whatever_its_name(reachable: Path, content: bytes) -> None:
    key = put(reachable / "notes.txt", 0o644, content)
    put(reachable / "closed.key", 0o640, content)
    (found,) = loose_files([reachable]).findings
    assert found.id == f"readable-key:{key}"
    assert content.decode()[:20] not in found.what


def test_a_certificate_and_a_public_key_may_be_read_by_anyone(reachable: Path) -> None:
    put(reachable / "app.crt", 0o644, certificate(5)[0])
    put(reachable / "id_ed25519.pub", 0o644, b"ssh-ed25519 AAAA me")
    assert loose_files([reachable]) == Inspection()


def test_what_lies_below_a_folder_that_others_cannot_enter_is_out_of_their_reach(reachable: Path) -> None:
    put(reachable / "closed" / "deep" / "open.key", 0o666, certificate(5)[1])
    (reachable / "closed").chmod(0o750)
    assert loose_files([reachable]) == Inspection()
    assert loose_files([reachable / "closed" / "deep"]) == Inspection()
    (reachable / "closed").chmod(0o751)
    assert len(loose_files([reachable]).findings) == 2


def test_links_are_not_followed_out_of_the_folder(reachable: Path) -> None:
    outside = put(reachable / "outside" / "loose", 0o666)
    (reachable / "app").mkdir()
    (reachable / "app" / "file").symlink_to(outside)
    (reachable / "app" / "folder").symlink_to(outside.parent)
    assert loose_files([reachable / "app"]) == Inspection()


def test_a_folder_that_the_site_names_and_that_is_not_there_is_said(reachable: Path) -> None:
    put(reachable / "here" / "loose", 0o666)
    inspection = loose_files([reachable / "gone", reachable / "here"])
    assert len(inspection.findings) == 1
    assert inspection.unread == [f"files of {reachable / 'gone'} (No such file or directory: {reachable / 'gone'})"]


def test_a_single_file_can_be_named(reachable: Path) -> None:
    file = put(reachable / "loose", 0o666)
    assert told(loose_files([file])) == {("world-writable", str(file), "high")}


def test_a_folder_opened_to_all_ends_with_a_word_instead_of_thousands(
    reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security_files, "MOST_FINDINGS", 3)
    for number in range(10):
        put(reachable / f"loose-{number}", 0o666)
    inspection = loose_files([reachable])
    assert [Path(one.where).name for one in inspection.findings] == ["loose-0", "loose-1", "loose-2"]
    assert inspection.unread == [f"files of {reachable} (only the first 3 findings are told)"]


@pytest.mark.parametrize(("limit", "value", "words"), [("MOST_ENTRIES", 4, "first 4"), ("MOST_SECONDS", -1, "within")])
def test_a_folder_without_end_is_left_and_said(
    reachable: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, words: str
) -> None:
    monkeypatch.setattr(security_files, limit, value)
    for number in range(10):
        put(reachable / f"file-{number}", 0o644)
    (problem,) = loose_files([reachable]).unread
    assert words in problem


def test_backups_that_others_can_read_are_one_finding_for_the_store(reachable: Path) -> None:
    for number in range(5):
        put(reachable / "shop" / "app" / f"2026-{number}" / "dump.sql.zst", 0o644)
    put(reachable / "shop" / "app" / "2026-0" / "manifest.json", 0o600)
    (found,) = exposed_backups(reachable, "store").findings
    assert (found.id, found.severity) == (f"readable-backups:{reachable}", "high")
    assert "5 files" in found.what


def test_encrypted_backups_that_others_can_read_are_a_low_finding(reachable: Path) -> None:
    put(reachable / "shop" / "dump.sql.zst.age", 0o644)
    put(reachable / "shop" / "manifest.json", 0o644)
    assert told(exposed_backups(reachable, "store")) == {("readable-backups", str(reachable), "low")}


def test_backups_that_others_can_change_are_high_even_encrypted(reachable: Path) -> None:
    put(reachable / "dump.sql.zst.age", 0o602)
    assert told(exposed_backups(reachable, "spool")) == {("writable-backups", str(reachable), "high")}


def test_a_store_as_upkeep_makes_it_is_fine(reachable: Path) -> None:
    put(reachable / "shop" / "dump.sql.zst", 0o600)
    (reachable / "shop").chmod(0o700)
    assert exposed_backups(reachable, "store") == Inspection()


# Logins.

SINCE = NOW - timedelta(days=1)


def line(at: datetime, words: str, *, old: bool = False, program: str = "sshd[77]") -> str:
    stamp = at.astimezone(CHINA).strftime("%b %e %H:%M:%S") if old else at.astimezone(CHINA).isoformat()
    return f"{stamp} db1 {program}: {words}\n"


def failed(address: str, user: str = "root") -> str:
    return f"Failed password for {user} from {address} port 40022 ssh2"


def auth_log(root: Path, *lines: str, name: str = "auth.log") -> Path:
    log = root / "var" / "log" / name
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(lines))
    os.utime(log, (NOW.timestamp(), NOW.timestamp()))
    return log


def logins(root: Path, limit: int = 3, **options: Any) -> Inspection:
    return failed_logins(SINCE, now=NOW, limit=limit, root=root, zone=CHINA, **options)


@pytest.mark.parametrize("old", [False, True], ids=["ISO 8601", "without a year"])
def test_failed_logins_are_counted_by_address_since_the_last_review(tmp_path: Path, old: bool) -> None:
    hour = timedelta(hours=1)
    auth_log(
        tmp_path,
        *[line(SINCE - hour, failed("203.0.113.9"), old=old)] * 9,
        *[line(NOW - hour, failed("203.0.113.9"), old=old)] * 2,
        *[line(NOW - hour, failed("2001:db8::1", "invalid user admin"), old=old)] * 3,
        line(NOW - hour, "Failed publickey for root from 203.0.113.9 port 1 ssh2", old=old),
    )
    inspection = logins(tmp_path)
    assert told(inspection) == {("failed-logins", "2001:db8::1", "medium")}
    assert inspection.figures == {"failed_logins": 5, "failed_logins_addresses": 2}
    assert inspection.unread == []


def test_a_line_of_december_read_in_january_is_of_last_year(tmp_path: Path) -> None:
    january = datetime(2027, 1, 1, 1, 0, tzinfo=CHINA)
    auth_log(tmp_path, line(january - timedelta(hours=2), failed("203.0.113.9"), old=True))
    os.utime(tmp_path / "var/log/auth.log", (january.timestamp(), january.timestamp()))
    since = january - timedelta(days=1)
    inspection = failed_logins(since, now=january, limit=1, root=tmp_path, zone=CHINA)
    assert len(inspection.findings) == 1


def test_lines_that_syslog_folded_count_as_often_as_they_came(tmp_path: Path) -> None:
    auth_log(tmp_path, line(NOW, f"message repeated 3 times: [ {failed('203.0.113.9')}]"))
    assert logins(tmp_path).figures["failed_logins"] == 3


def test_an_address_that_got_in_after_failing_is_high(tmp_path: Path) -> None:
    accepted = "Accepted password for root from {} port 1 ssh2"
    auth_log(
        tmp_path,
        line(NOW, accepted.format("198.51.100.1")),
        *[line(NOW, failed("203.0.113.9"))] * 3,
        line(NOW, accepted.format("203.0.113.9")),
    )
    assert told(logins(tmp_path)) == {("guessed-login", "203.0.113.9", "high")}


def test_an_address_that_got_in_and_failed_later_is_somebody_who_mistyped(tmp_path: Path) -> None:
    accepted = "Accepted password for root from 203.0.113.9 port 1 ssh2"
    auth_log(tmp_path, line(NOW, accepted), *[line(NOW, failed("203.0.113.9"))] * 3)
    assert told(logins(tmp_path)) == {("failed-logins", "203.0.113.9", "medium")}


def test_an_address_cannot_be_put_in_by_the_name_that_logs_in(tmp_path: Path) -> None:
    name = "invalid user x from 192.0.2.1 port 1 ssh2"
    auth_log(tmp_path, *[line(NOW, failed("203.0.113.9", name))] * 3)
    assert {one.where for one in logins(tmp_path).findings} == {"203.0.113.9"}


def test_only_the_lines_of_sshd_count(tmp_path: Path) -> None:
    auth_log(tmp_path, *[line(NOW, failed("203.0.113.9"), program="anybody[1]")] * 9)
    assert logins(tmp_path).figures["failed_logins"] == 0


def test_the_log_that_was_rotated_away_since_is_read_as_well(tmp_path: Path) -> None:
    auth_log(tmp_path, *[line(NOW - timedelta(hours=9), failed("203.0.113.9"))] * 2, name="auth.log.1")
    auth_log(tmp_path, line(NOW, failed("203.0.113.9")))
    assert logins(tmp_path).figures["failed_logins"] == 3


def test_a_log_that_was_rotated_away_under_a_date_is_read_as_well(tmp_path: Path) -> None:
    auth_log(tmp_path, *[line(NOW - timedelta(hours=9), failed("203.0.113.9"))] * 2, name="secure-20261121")
    auth_log(tmp_path, line(NOW, failed("203.0.113.9")), name="secure")
    assert logins(tmp_path).figures["failed_logins"] == 3


def test_lines_that_make_no_sense_are_passed_over(tmp_path: Path) -> None:
    log = auth_log(tmp_path, line(NOW, failed("203.0.113.9")))
    log.write_bytes(b"\xff\x00 9999\n9\nFeb 30 25:00:00 x sshd[1]: " + failed("a").encode() + b"\n" + log.read_bytes())
    assert logins(tmp_path).figures["failed_logins"] == 1


def a_program(folder: Path, script: str, name: str = "journalctl") -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_log_that_nobody_writes_any_more_is_no_proof_of_quiet(tmp_path: Path) -> None:
    log = auth_log(tmp_path, *[line(SINCE - timedelta(days=9), failed("203.0.113.9"))] * 9)
    os.utime(log, (SINCE.timestamp() - 86400, SINCE.timestamp() - 86400))
    (problem,) = logins(tmp_path, journal=[str(tmp_path / "no-such-program")]).unread
    assert f"{log} has not been written to since the last look; " in problem
    program = a_program(tmp_path, f'for n in 1 2 3; do echo "{failed("198.51.100.1")}"; done')
    assert told(logins(tmp_path, journal=[program])) == {("failed-logins", "198.51.100.1", "medium")}


def test_without_a_log_file_the_journal_is_asked_from_the_last_review_on(tmp_path: Path) -> None:
    program = a_program(
        tmp_path,
        f'echo "$*" > {tmp_path}/asked\nfor n in 1 2 3; do echo "{failed("203.0.113.9")}"; done',
    )
    assert told(logins(tmp_path, journal=[program])) == {("failed-logins", "203.0.113.9", "medium")}
    assert f"--since=@{SINCE.timestamp():.0f} -t sshd -t sshd-session" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'Hint: You are currently not seeing messages from other users' >&2", "only its own lines"),
        ("echo 'No access' >&2; exit 1", "No access"),
    ],
)
def test_a_journal_that_does_not_show_the_logins_is_said(tmp_path: Path, script: str, words: str) -> None:
    inspection = logins(tmp_path, journal=[a_program(tmp_path, script)])
    assert inspection.findings == []
    assert len(inspection.unread) == 1
    assert inspection.unread[0].startswith("failed logins (")
    assert words in inspection.unread[0]


def test_neither_log_nor_journal_is_said(tmp_path: Path) -> None:
    (problem,) = logins(tmp_path, journal=[str(tmp_path / "no-such-program")]).unread
    assert problem.startswith("failed logins (")


# Databases.


def mysql(database: MySqlDatabase) -> MySqlEngine:
    return MySqlEngine(database.endpoint(), database.name)


@pytest.fixture
def accounts(any_mysql_database: MySqlDatabase) -> Iterator[MySqlDatabase]:
    yield any_mysql_database
    for user, host in any_mysql_database.query(
        "SELECT User, Host FROM mysql.user WHERE User IN ('', 'root', 'reporter')"
    ):
        any_mysql_database.execute(f"DROP USER '{user}'@'{host}'")


def of(inspection: Inspection, user: str) -> set[tuple[str, str]]:
    return {(one.kind, one.severity) for one in inspection.findings if one.where.startswith(f"'{user}'@")}


def test_a_mysql_account_without_a_password_is_high(accounts: MySqlDatabase) -> None:
    accounts.execute("CREATE USER reporter@'10.1.%'")
    inspection = mysql_accounts(mysql(accounts))
    assert of(inspection, "reporter") == {("account-without-password", "high")}
    assert inspection.unread == []


def test_a_mysql_account_with_a_password_from_one_network_is_fine(accounts: MySqlDatabase) -> None:
    accounts.execute("CREATE USER reporter@'10.1.%' IDENTIFIED BY 'S3cret-enough'")
    assert of(mysql_accounts(mysql(accounts)), "reporter") == set()


def test_a_mysql_account_from_every_address_is_medium_and_a_superuser_from_there_high(accounts: MySqlDatabase) -> None:
    accounts.execute("CREATE USER reporter@'%' IDENTIFIED BY 'S3cret-enough'")
    inspection = mysql_accounts(mysql(accounts))
    assert of(inspection, "reporter") == {("account-from-anywhere", "medium")}
    assert of(inspection, "upkeep") == {("superuser-account", "high")}


def test_root_at_home_is_expected_and_a_superuser_elsewhere_is_not(accounts: MySqlDatabase) -> None:
    for account in ("root@localhost", "reporter@'10.1.%'"):
        accounts.execute(f"CREATE USER {account} IDENTIFIED BY 'S3cret-enough'")
        accounts.execute(f"GRANT ALL ON *.* TO {account}")
    inspection = mysql_accounts(mysql(accounts))
    assert of(inspection, "root") == set()
    assert of(inspection, "reporter") == {("superuser-account", "medium")}


def test_an_anonymous_mysql_account_is_found(accounts: MySqlDatabase) -> None:
    accounts.execute("CREATE USER ''@localhost")
    assert of(mysql_accounts(mysql(accounts)), "") == {("anonymous-account", "high")}


def test_a_locked_mysql_account_is_nobody(accounts: MySqlDatabase) -> None:
    accounts.execute("CREATE USER reporter@'%' ACCOUNT LOCK")
    assert of(mysql_accounts(mysql(accounts)), "reporter") == set()


def test_a_mariadb_account_that_comes_by_the_socket_needs_no_password(mariadb_database: MySqlDatabase) -> None:
    mariadb_database.execute("CREATE USER reporter@localhost IDENTIFIED VIA unix_socket")
    mariadb_database.execute("GRANT ALL ON *.* TO reporter@localhost")
    try:
        assert of(mysql_accounts(mysql(mariadb_database)), "reporter") == set()
    finally:
        mariadb_database.execute("DROP USER reporter@localhost")


@pytest.mark.parametrize(
    ("ways", "findings"),
    [
        ("mysql_native_password USING 'invalid' OR unix_socket", set()),
        ("unix_socket OR mysql_native_password USING ''", {("account-without-password", "high")}),
    ],
)
def test_of_a_mariadb_account_each_way_to_log_in_counts(
    mariadb_database: MySqlDatabase, ways: str, findings: set[tuple[str, str]]
) -> None:
    mariadb_database.execute(f"CREATE USER reporter@localhost IDENTIFIED VIA {ways}")
    try:
        assert of(mysql_accounts(mysql(mariadb_database)), "reporter") == findings
    finally:
        mariadb_database.execute("DROP USER reporter@localhost")


def test_a_mariadb_role_is_not_an_account(mariadb_database: MySqlDatabase) -> None:
    mariadb_database.execute("CREATE ROLE readers")
    try:
        assert of(mysql_accounts(mysql(mariadb_database)), "readers") == set()
    finally:
        mariadb_database.execute("DROP ROLE readers")


def test_what_a_mysql_account_may_through_a_role_of_a_role_counts(accounts: MySqlDatabase) -> None:
    accounts.execute("CREATE USER reporter@'10.1.%' IDENTIFIED BY 'S3cret-enough'")
    for statement in ("CREATE ROLE readers", "CREATE ROLE admins", "GRANT readers TO reporter@'10.1.%'"):
        accounts.execute(statement)
    try:
        assert of(mysql_accounts(mysql(accounts)), "reporter") == set()
        accounts.execute("GRANT ALL ON *.* TO admins")
        accounts.execute("GRANT admins TO readers")
        inspection = mysql_accounts(mysql(accounts))
        (found,) = [one for one in inspection.findings if one.where.startswith("'reporter'@")]
        assert (found.kind, found.severity) == ("superuser-account", "medium")
        assert "may do everything through the role 'readers'" in found.what
        accounts.execute(found.remedy.partition(";")[0])
        assert of(mysql_accounts(mysql(accounts)), "reporter") == set()
        assert inspection.unread == []
    finally:
        accounts.execute("DROP ROLE readers, admins")


def test_accounts_that_may_not_be_read_are_said_and_nothing_is_shown_of_a_hash(accounts: MySqlDatabase) -> None:
    secret = "S3cret-enough"
    accounts.execute(f"CREATE USER reporter@'%' IDENTIFIED BY '{secret}'")
    accounts.execute(f"GRANT SELECT ON `{accounts.name}`.* TO reporter@'%'")
    login = Endpoint(**{**vars(accounts.endpoint()), "user": "reporter", "secret": secret})
    inspection = mysql_accounts(MySqlEngine(login, accounts.name))
    assert inspection.findings == []
    assert "command denied" in inspection.unread[0]
    assert "*" not in str(mysql_accounts(mysql(accounts)).findings).replace("*.*", "")


@pytest.fixture
def role(postgres_database: PostgresDatabase) -> Iterator[PostgresDatabase]:
    yield postgres_database
    postgres_database.execute("DROP ROLE IF EXISTS reporter")


def postgres(database: PostgresDatabase, **login: str) -> PostgresEngine:
    return PostgresEngine(Endpoint(**{**vars(database.endpoint()), **login}), database.name)


def reporter(inspection: Inspection) -> set[tuple[str, str]]:
    return {(one.kind, one.severity) for one in inspection.findings if one.where.startswith("role reporter ")}


@pytest.mark.parametrize(
    ("options", "findings"),
    [
        ("LOGIN PASSWORD 'x'", set()),
        ("NOLOGIN", set()),
        ("SUPERUSER NOLOGIN", {("superuser-role", "medium")}),
        ("LOGIN PASSWORD 'x' IN ROLE upkeep", {("superuser-role", "medium")}),
        ("LOGIN PASSWORD 'x' IN ROLE pg_execute_server_program", {("superuser-role", "medium")}),
        ("LOGIN PASSWORD 'x' IN ROLE pg_read_all_data, pg_monitor", set()),
        ("LOGIN", {("role-without-password", "low")}),
        ("LOGIN PASSWORD 'x' VALID UNTIL '2020-01-01'", {("expired-role", "low")}),
        ("LOGIN PASSWORD 'md50123456789abcdef0123456789abcdef'", {("md5-password", "low")}),
    ],
)
def test_a_postgres_role_is_judged_by_what_it_may_and_how_its_password_is_kept(
    role: PostgresDatabase, options: str, findings: set[tuple[str, str]]
) -> None:
    role.execute(f"CREATE ROLE reporter {options}")
    inspection = postgres_roles(postgres(role))
    assert reporter(inspection) == findings
    assert inspection.unread == []
    assert not [one for one in inspection.findings if one.where.startswith("role upkeep ")]  # the cluster's first role


def test_rules_that_ask_for_no_password_are_found_by_who_they_let_in(role: PostgresDatabase) -> None:
    hba = role.server.folder / "data" / "pg_hba.conf"
    before = hba.read_text()
    try:
        hba.write_text(
            f"{before}\nlocal all all trust\nhost all all 127.0.0.1/32 trust\nhost shop all 10.0.0.0/8 trust\n"
            "host all all 10.0.0.0/8 password\nhostssl all all 10.0.0.0/8 password\n"
        )
        inspection = postgres_roles(postgres(role))
    finally:
        hba.write_text(before)
    server = f"127.0.0.1:{role.server.port}"
    assert {one for one in told(inspection) if "rule" in one[0]} == {
        ("trusting-rule", f"pg_hba.conf line 'local all all trust' on {server}", "medium"),
        ("trusting-rule", f"pg_hba.conf line 'host all all 127.0.0.1 255.255.255.255 trust' on {server}", "medium"),
        ("trusting-rule", f"pg_hba.conf line 'host shop all 10.0.0.0 255.0.0.0 trust' on {server}", "high"),
        (
            "readable-password-rule",
            f"pg_hba.conf line 'host all all 10.0.0.0 255.0.0.0 password' on {server}",
            "medium",
        ),
    }


def test_what_only_a_superuser_may_read_of_postgres_is_said_and_the_roles_are_read_all_the_same(
    role: PostgresDatabase,
) -> None:
    role.execute("CREATE ROLE reporter LOGIN PASSWORD 'p4ss-of-reporter'")
    inspection = postgres_roles(postgres(role, user="reporter", secret="p4ss-of-reporter"))
    server = f"127.0.0.1:{role.server.port}"
    unread = [why.split(" (")[0] for why in inspection.unread]
    assert unread == [f"role passwords of {server}", f"pg_hba.conf of {server}"]
    role.execute("ALTER ROLE reporter SUPERUSER")
    assert reporter(postgres_roles(postgres(role, user="reporter", secret="p4ss-of-reporter")))


# Redis.


def redis_of(server: RedisServer, **login: str) -> Inspection:
    return redis_access(RedisEngine(Endpoint(**{**vars(server.endpoint()), **login})))


def place(server: RedisServer) -> str:
    return f"127.0.0.1:{server.port}"


def test_a_redis_with_a_password_is_fine(redis_server: RedisServer) -> None:
    assert redis_of(redis_server) == Inspection()


def test_a_redis_without_a_password_is_high_and_says_how_far_it_can_be_reached() -> None:
    with RedisServer(requirepass=False) as server:
        (found,) = redis_of(server).findings
        assert (found.kind, found.where, found.severity) == ("redis-without-password", place(server), "high")
        assert "from its machine" in found.what
        with server.connect() as client:
            client.config_set("protected-mode", "no")
        assert "from every address it listens on" in redis_of(server).findings[0].what


def test_the_users_of_a_redis_are_judged_by_what_they_may() -> None:
    with RedisServer() as server:
        with server.connect() as client:
            client.config_set("protected-mode", "no")
            client.execute_command("ACL", "SETUSER", "open", "on", "nopass", "~*", "+@all")
            client.execute_command("ACL", "SETUSER", "metrics", "on", "nopass", "+info")
            client.execute_command("ACL", "SETUSER", "tame", "on", "nopass", "~*", "+@all", "-@dangerous")
            client.execute_command("ACL", "SETUSER", "away", "off", "nopass", "~*", "+@all")
            client.execute_command("ACL", "SETUSER", "upkeep", "on", ">its-own", "~*", "+@all")
        assert told(redis_of(server)) == {
            ("redis-unprotected", place(server), "low"),
            ("redis-user-without-password", f"user open on {place(server)}", "high"),
            ("redis-user-without-password", f"user metrics on {place(server)}", "medium"),
            ("redis-user-without-password", f"user tame on {place(server)}", "medium"),
        }
        named = redis_of(server, user="upkeep", secret="its-own")
        assert ("redis-default-user", place(server), "low") in told(named)
        with server.connect() as client:
            hashed = str(client.execute_command("ACL", "LIST"))
        assert "#" in hashed
        assert "#" not in str(named)


def test_a_stranger_who_may_only_say_ping_is_a_medium_finding() -> None:
    with RedisServer(requirepass=False) as server:
        with server.connect() as client:
            client.execute_command("ACL", "SETUSER", "upkeep", "on", ">its-own", "~*", "+@all")
            client.execute_command("ACL", "SETUSER", "default", "reset", "on", "nopass", "+ping", "+info", "+auth")
        inspection = redis_of(server, user="upkeep", secret="its-own")
        assert ("redis-without-password", place(server), "medium") in told(inspection)


def test_what_a_redis_account_may_not_read_is_said() -> None:
    with RedisServer() as server:
        with server.connect() as client:
            client.execute_command("ACL", "SETUSER", "backup", "on", ">its-own", "~*", "+ping", "+info")
        inspection = redis_of(server, user="backup", secret="its-own")
        assert inspection.findings == []
        assert [why.split(" (")[0] for why in inspection.unread] == [
            f"users of {place(server)}", f"protected-mode of {place(server)}",
        ]  # fmt: skip


def test_a_redis_that_does_not_answer_is_an_error_with_a_hint() -> None:
    with pytest.raises(SourceError, match="HINT: check that it runs"):
        redis_access(RedisEngine(Endpoint("r", host="127.0.0.1", port=free_port())))


# Updates.

APT = shutil.which("apt-get")


@pytest.fixture
def apt_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root of apt's own, with one archive in a folder and one package installed in an old version."""
    monkeypatch.delenv("APT_CONFIG")
    for folder in (
        "etc/apt/sources.list.d", "etc/apt/preferences.d", "etc/apt/apt.conf.d", "etc/apt/trusted.gpg.d",
        "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg", "archive",
    ):  # fmt: skip
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def archive(root: Path, suite: str, *packages: str) -> list[str]:
    """Make the archive offer version 2 of ``packages`` as ``suite``, have apt read it, and return apt's options."""
    stanza = "Package: {}\nVersion: {}\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
    offered = "\n".join(
        f"{stanza.format(name, 2)}Filename: ./{name}.deb\nSize: 1\nMD5sum: {'0' * 32}\n" for name in packages
    )
    (root / "archive" / "Packages").write_text(offered)
    (root / "archive" / "Release").write_text(f"Origin: Debian\nLabel: Debian-{suite}\nSuite: stable-{suite}\n")
    (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{root}/archive ./\n")
    status = "\n".join(f"{stanza.format(name, 1)}Status: install ok installed\n" for name in packages)
    (root / "var/lib/dpkg/status").write_text(status)
    options = ["-o", f"Dir={root}", "-o", f"Dir::State::status={root}/var/lib/dpkg/status", "-o",
               "APT::Sandbox::User=root", "-o", "Dir::Bin::Methods=/usr/lib/apt/methods"]  # fmt: skip
    done = subprocess.run([APT or "", *options, "update"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return options


@pytest.mark.skipif(not APT, reason="apt isn't there")
def test_security_updates_are_one_finding_that_names_them(apt_root: Path) -> None:
    options = archive(apt_root, "security", "openssl", "zlib")
    inspection = waiting_updates(now=datetime.now(UTC), options=options, lists=apt_root / "var/lib/apt/lists")
    (found,) = inspection.findings
    assert found.id == "security-updates:apt"
    assert found.what.startswith("2 security updates wait: openssl 1 -> 2, zlib 1 -> 2")
    assert inspection.figures == {"security_updates": 2}


@pytest.mark.skipif(not APT, reason="apt isn't there")
def test_updates_of_another_archive_are_none_of_our_business(apt_root: Path) -> None:
    options = archive(apt_root, "updates", "openssl")
    inspection = waiting_updates(now=datetime.now(UTC), options=options, lists=apt_root / "var/lib/apt/lists")
    assert inspection == Inspection(figures={"security_updates": 0})


@pytest.mark.skipif(not APT, reason="apt isn't there")
def test_lists_that_nobody_brought_up_to_date_are_found(apt_root: Path) -> None:
    options = archive(apt_root, "updates", "openssl")
    later = datetime.now(UTC) + timedelta(days=8)
    inspection = waiting_updates(now=later, options=options, lists=apt_root / "var/lib/apt/lists")
    assert told(inspection) == {("stale-package-lists", "apt", "low")}


def test_a_machine_without_apt_has_nothing_to_look_at() -> None:
    assert waiting_updates(now=NOW, program="no-such-apt") == Inspection()


def test_an_apt_that_fails_is_said(tmp_path: Path) -> None:
    program = a_program(tmp_path, "echo 'E: broken' >&2; exit 100", "apt-get")
    (problem,) = waiting_updates(now=NOW, program=program).unread
    assert problem.startswith("security updates (")
    assert "broken" in problem
