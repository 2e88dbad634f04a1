"""The security review: what is new is told once, what stays keeps its date, what can't be looked at isn't gone."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.duties.site_factory import SiteFactory
from tests.servers.databases import MySqlDatabase, PostgresDatabase
from tests.servers.oss_server import OssServer
from tests.servers.places import free_port
from tests.servers.redis_server import RedisServer
from upkeep.domain.endpoint import Endpoint
from upkeep.domain.findings import Inspection
from upkeep.duties import comparing
from upkeep.duties.check_security import Machine, check_security
from upkeep.duties.job import Run
from upkeep.ledger import Record, verify
from upkeep.ledger.entry import DETAIL_CHARS
from upkeep.stores.oss_store import OssStore

NIGHT = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)


@pytest.fixture
def etc() -> Iterator[Path]:
    """The site's configuration folder, where every account of the machine can go."""
    folder = Path(tempfile.mkdtemp(prefix="upkeep-review-", dir="/tmp")).resolve()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A worker without apt, with a log that nobody tried to log in by, and on which nothing listens."""
    (tmp_path / "machine" / "var" / "log").mkdir(parents=True)
    log = tmp_path / "machine" / "var" / "log" / "auth.log"
    log.touch()
    os.utime(log, (NIGHT.timestamp() * 2, NIGHT.timestamp() * 2))
    listening(tmp_path / "machine")
    return Machine(root=tmp_path / "machine", journal="no-such-journal", apt="no-such-apt")


def listening(root: Path, *ports: int) -> None:
    """The kernel's table of a machine on which something listens on these ports of all its addresses."""
    lines = [
        f"   {place}: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1"
        for place, port in enumerate(ports)
    ]
    (root / "proc" / "net").mkdir(parents=True, exist_ok=True)
    (root / "proc" / "net" / "tcp").write_text("\n".join(["  sl  local_address rem_address   st", *lines]))


class Review:
    """A site whose review can be made night after night."""

    def __init__(self, sites: SiteFactory, machine: Machine, etc: Path) -> None:
        self.sites, self.machine, self.etc = sites, machine, etc
        sites.paths(etc)

    def night(self, number: int = 0, **changes: Any) -> dict[str, Any]:
        at = NIGHT + timedelta(days=number)
        return check_security(self.sites.job(f"night-{number}", now=lambda: at, **changes), machine=self.machine)

    def last(self) -> Record:
        ledger = self.sites.job().ledger
        (record,) = ledger.acts("kindergarten", duty="check_security", limit=1, newest_first=True)
        return record

    def loosen(self, *names: str) -> None:
        for name in names:
            path = self.etc / name
            path.touch()
            path.chmod(0o666)


@pytest.fixture
def review(sites: SiteFactory, machine: Machine, etc: Path) -> Review:
    return Review(sites, machine, etc)


def words(findings: list[dict[str, str]]) -> list[str]:
    return [finding["what"].rpartition("/")[2] for finding in findings]


def test_a_tidy_site_is_green(review: Review) -> None:
    found = review.night()
    assert (found["light"], found["summary"], found["unread"]) == ("green", "nothing found", [])


def test_a_grave_finding_is_red_in_the_night_in_which_it_appears(review: Review) -> None:
    assert review.night(0)["light"] == "green"
    review.loosen("app.ini")
    assert [review.night(1)["light"], review.night(2)["light"]] == ["red", "amber"]


def test_a_finding_is_told_as_new_once_and_stands_until_it_is_gone(
    review: Review, caplog: pytest.LogCaptureFixture
) -> None:
    review.loosen("app.ini")
    with caplog.at_level(logging.WARNING):
        first = review.night(0)
    second = review.night(1)
    (review.etc / "app.ini").chmod(0o644)
    third, fourth = review.night(2), review.night(3)
    assert words(first["new"]) == ["app.ini"]
    assert first["new"][0]["remedy"] == f"chmod o-w {review.etc}/app.ini"
    assert any("new, high: any account" in message for message in caplog.messages)
    assert (second["new"], second["counts"]["standing"], second["summary"]) == ([], 1, "1 standing (1 high)")
    assert (first["light"], second["light"]) == ("amber", "amber"), "what stands must not make every night red"
    assert (third["counts"]["gone"], third["light"]) == (1, "green")
    assert [what.rpartition("/")[2] for what in third["gone"]] == ["app.ini"]
    assert fourth["summary"] == "nothing found"


def test_the_day_it_was_first_seen_is_kept(review: Review) -> None:
    review.loosen("app.ini")
    review.night(0)
    review.night(1)
    (kept,) = review.last().detail["findings"]
    assert kept["first_seen"] == NIGHT.isoformat()


def test_everything_of_a_site_is_looked_at(
    review: Review,
    sites: SiteFactory,
    mariadb_database: MySqlDatabase,
    postgres_database: PostgresDatabase,
    tmp_path: Path,
) -> None:
    sites.database(mariadb_database, "app")
    sites.database(postgres_database, "shop")
    postgres_database.execute("CREATE ROLE reporter SUPERUSER")
    log = review.machine.root / "var/log/auth.log"
    failed = f"{NIGHT.isoformat()} db1 sshd[7]: Failed password for root from 203.0.113.9 port 22 ssh2\n"
    log.write_text(failed * 20)
    os.utime(log, (NIGHT.timestamp(), NIGHT.timestamp()))
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\necho 'Inst openssl [1] (2 Debian-Security:12/stable-security [amd64])'\n")
    apt.chmod(0o755)
    review.machine = Machine(root=review.machine.root, apt=str(apt))
    review.loosen("app.ini")
    sites.settings["security"] = {"certificates": [str(review.etc / "app.ini")]}
    try:
        with RedisServer(requirepass=False) as server:
            sites.cache(server, "sessions")
            found = review.night()
    finally:
        postgres_database.execute("DROP ROLE reporter")
    text = json.dumps(found["new"])
    for part in (
        "can change the file", "may do everything, from every address", "role reporter", "lets in whoever asks",
        "20 logins from 203.0.113.9 failed", "1 security update wait: openssl 1 -> 2",
        "apt has asked for updates never",
    ):  # fmt: skip
        assert part in text, part
    assert found["unread"] == [f"certificate {review.etc}/app.ini (holds no certificate)"]
    assert review.last().detail["figures"]["failed_logins"] == 20


def test_the_https_endpoints_and_the_tls_endpoints_are_asked_for_their_certificates(
    review: Review, sites: SiteFactory
) -> None:
    ports = [free_port() for _ in range(2)]
    sites.settings["endpoints"] = [
        {"name": "api", "url": f"https://127.0.0.1:{ports[0]}/health"},
        {"name": "web", "url": "http://127.0.0.1/"},
    ]
    sites.settings["security"] = {"tls_endpoints": [f"127.0.0.1:{ports[1]}"]}
    found = review.night()
    assert found["light"] == "amber"
    assert found["unread"] == [f"certificate of 127.0.0.1:{port} (Connection refused)" for port in sorted(ports)]


def test_databases_of_one_server_are_looked_at_once(
    review: Review, sites: SiteFactory, postgres_database: PostgresDatabase
) -> None:
    sites.database(postgres_database, "app")
    sites.settings["databases"].append({**sites.settings["databases"][0], "name": "shop"})
    postgres_database.execute("CREATE ROLE reporter SUPERUSER")
    try:
        assert review.night()["counts"]["new"] == 1
    finally:
        postgres_database.execute("DROP ROLE reporter")


def test_findings_of_a_server_that_is_away_are_neither_gone_nor_new_again(
    review: Review, sites: SiteFactory, mariadb_database: MySqlDatabase
) -> None:
    sites.database(mariadb_database, "app")
    first = review.night(0)
    assert first["counts"]["new"] >= 1
    (conn_id,) = sites.endpoints
    there = sites.endpoints[conn_id]
    sites.endpoints[conn_id] = Endpoint(**{**vars(there), "port": free_port()})
    away = review.night(1)
    assert (away["counts"]["gone"], away["counts"]["unseen"]) == (0, first["counts"]["new"])
    assert away["unread"][0].startswith("database/app: can't log in to")
    assert there.secret not in json.dumps(away, ensure_ascii=False)
    sites.endpoints[conn_id] = there
    back = review.night(2)
    assert (back["counts"]["new"], back["counts"]["standing"]) == (0, first["counts"]["new"])


def test_a_port_that_opens_is_news_and_a_warning_only_where_the_site_says_which_may_be_open(
    review: Review, sites: SiteFactory
) -> None:
    listening(review.machine.root, 22)
    assert review.night(0)["light"] == "green"
    listening(review.machine.root, 22, 6379)
    found = review.night(1)
    assert (found["light"], [one["what"] for one in found["new"]]) == (
        "green", ["something listens on port 6379/tcp (0.0.0.0)"],
    )  # fmt: skip
    sites.settings["security"] = {"ports": [22]}
    found = review.night(2)
    assert (found["light"], found["summary"]) == ("amber", "1 new, 1 gone (1 medium)")


def test_a_bucket_that_shows_its_backups_to_strangers_is_red_and_a_private_one_is_fine(
    review: Review, tmp_path: Path
) -> None:
    with OssServer(tmp_path / "bucket") as oss:
        store = OssStore(url=f"oss://{oss.bucket}/prod", endpoint=oss.endpoint, retries=0, timeout_s=5)
        assert review.night(0, store=store)["light"] == "green"  # nothing in it yet
        store.put("kindergarten/app/20261121T020003Z-ab12/manifest.json", b"{}")
        assert review.night(1, store=store)["light"] == "green"
        oss.signatures.public = True
        found = review.night(2, store=store)
        assert found["light"] == "red"
        assert f"can read the backups in oss://{oss.bucket}/prod" in found["new"][0]["what"]
    assert review.night(3, store=store)["counts"]["unseen"] == 1, "a store that is away is nobody's proof"


def test_a_folder_that_could_not_be_looked_at_keeps_its_findings(review: Review) -> None:
    review.loosen("app.ini")
    review.night(0)
    moved = review.etc.with_name(f"{review.etc.name}-away")
    review.etc.rename(moved)
    try:
        found = review.night(1)
    finally:
        moved.rename(review.etc)
    assert found["counts"]["unseen"] == 1
    assert found["counts"]["gone"] == 0


def test_logins_are_counted_from_the_last_review_on(review: Review, sites: SiteFactory) -> None:
    sites.settings["security"] = {"failed_logins": 1}
    log = review.machine.root / "var/log/auth.log"
    at = NIGHT + timedelta(hours=1)
    log.write_text(f"{at.isoformat()} db1 sshd[7]: Failed password for root from 203.0.113.9 port 22 ssh2\n")
    for number, count in ((0, 0), (3, 1), (4, 0)):
        moment = (NIGHT + timedelta(days=number)).timestamp()
        os.utime(log, (moment, moment))
        review.night(number)
        assert review.last().detail["figures"]["failed_logins"] == count, number


def test_many_findings_are_kept_beside_the_backups_and_compared_all_the_same(
    review: Review, sites: SiteFactory
) -> None:
    names = [f"a-rather-long-name-of-a-file-{number:03}.ini" for number in range(60)]
    review.loosen(*names)
    first = review.night(0)
    assert first["counts"]["new"] == 60
    assert 0 < len(first["new"]) < 60
    assert review.last().detail["kept_in"] == "store"
    review.loosen("another.ini")
    (review.etc / names[0]).unlink()
    second = review.night(1)
    assert words(second["new"]) == ["another.ini"]
    assert [what.rpartition("/")[2] for what in second["gone"]] == [names[0]]
    assert second["counts"]["standing"] == 59
    state = sites.folder / "store" / "kindergarten" / "_state" / "security.json"
    assert len(json.loads(state.read_text())) == 60


def test_many_findings_go_to_the_spool_while_the_store_is_away(review: Review, sites: SiteFactory) -> None:
    review.loosen(*(f"a-rather-long-name-of-a-file-{number:03}.ini" for number in range(60)))
    (sites.folder / "store").rename(sites.folder / "away")
    review.night(0)
    assert review.last().detail["kept_in"] == "spool"
    assert review.night(1)["counts"]["standing"] == 60


def test_kept_findings_that_are_lost_are_said_and_all_count_as_new(review: Review, sites: SiteFactory) -> None:
    review.loosen(*(f"a-rather-long-name-of-a-file-{number:03}.ini" for number in range(60)))
    review.night(0)
    (sites.folder / "store" / "kindergarten" / "_state" / "security.json").write_text("[{}]")
    found = review.night(1)
    assert found["counts"]["new"] == 60
    assert found["unread"] == ["the findings of the last review (KeyError): all of today's count as new"]


def test_what_a_killed_review_had_found_and_never_told_is_still_new(
    review: Review, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"a-rather-long-name-of-a-file-{number:03}.ini" for number in range(60)]
    review.loosen(*names)
    review.night(0)
    review.loosen("another.ini")
    keep = comparing.Review.keep

    def killed(*arguments: Any) -> dict[str, Any]:
        keep(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(comparing.Review, "keep", killed)
        with pytest.raises(KeyboardInterrupt):
            review.night(1)
    assert words(review.night(2)["new"]) == ["another.ini"]


def test_a_failed_review_is_not_what_the_next_one_compares_with(
    review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    review.loosen("app.ini")
    with monkeypatch.context() as patch:
        patch.setattr(comparing.Review, "keep", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            review.night(0)
    assert words(review.night(1)["new"]) == ["app.ini"]


def test_the_ledger_has_room_for_the_longest_review(review: Review, sites: SiteFactory) -> None:
    folder = review.etc / ("x" * 200) / ("天" * 80) / ('"' * 200)
    folder.mkdir(parents=True)
    review.loosen(*(f"{folder.relative_to(review.etc)}/{number}" for number in range(30)))
    sites.settings["security"] = {"paths": [f"/not/there/{'y' * 400}/{number}" for number in range(30)]}
    review.night(0)
    shutil.rmtree(review.etc / ("x" * 200))
    sites.settings["security"] = {}
    found = review.night(1)
    for record in sites.job().ledger.acts("kindergarten", duty="check_security"):
        assert record.finished and record.finished.detail
        assert len(record.finished.detail) < DETAIL_CHARS
        assert record.detail["counts"]
    assert found["counts"]["gone"] == 30
    assert verify(sites.job().ledger).clean


def test_a_review_from_another_machine_says_so(review: Review) -> None:
    review.night(0, run=Run(run_id="a", host="worker-1"))
    review.night(1, run=Run(run_id="b", host="worker-2"))
    assert review.last().detail["other_host_before"] == "worker-1"
    review.night(2, run=Run(run_id="c", host="worker-2"))
    assert "other_host_before" not in review.last().detail


def test_an_endpoint_without_a_port_is_asked_on_its_default_port(
    review: Review, sites: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    from upkeep.engines import security_certificates

    def note(servers: Any, **_: Any) -> Any:
        asked.extend(servers)
        return Inspection()

    monkeypatch.setattr(security_certificates, "certificates_of", note)
    sites.settings["endpoints"] = [{"name": "api", "url": "https://api.example.com/health"}]
    sites.settings["security"] = {"tls_endpoints": ["[::1]:5432"]}
    review.night()
    assert asked == [("::1", 5432), ("api.example.com", 443)]
