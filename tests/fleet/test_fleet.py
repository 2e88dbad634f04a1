"""The night on a fleet: two Celery workers that share no disk, and one of them lost in the middle of a dump.

make test-celery
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.fleet import WORKERS, Fleet
from upkeep.ledger import verify

OPT_IN = "UPKEEP_TEST_CELERY"
TARGETS = [
    *(("kindergarten", target) for target in ("app", "sessions", "config")),
    *(("chronoretrace", target) for target in ("app", "cache", "config")),
]

pytestmark = [
    pytest.mark.skipif(not os.environ.get(OPT_IN), reason=f"{OPT_IN} isn't set: make test-celery sets it"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can give each worker a disk and a host name of its own"),
    pytest.mark.skipif(importlib.util.find_spec("celery") is None, reason="Celery isn't installed: make test-celery"),
]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="upkeep-fleet-") as name:
        place = Path(name)
        place.chmod(0o755)
        try:
            with Fleet(place) as running:
                yield running
        finally:
            os.environ.clear()
            os.environ.update(before)


def backups(fleet: Fleet, site: str, target: str) -> list[str]:
    return sorted({key.split("/")[3] for key in fleet.oss.keys if key.startswith(f"fleet/{site}/{target}/2")})


def test_workers_that_share_no_disk_do_a_whole_night_of_both_sites(fleet: Fleet) -> None:
    runs = fleet.trigger()
    assert fleet.wait_for_runs(runs, 400) == dict.fromkeys(runs, "success"), fleet.failures(runs)
    hosts = {row.host for row in fleet.ledger.rows()}
    assert hosts == set(WORKERS), "both did some of it"
    for site, target in TARGETS:
        (backup,) = backups(fleet, site, target)
        proofs = [key for key in fleet.oss.keys if key.startswith(f"fleet/{site}/{target}/{backup}/proofs/")]
        assert [key.rsplit("-", 2)[1] for key in proofs] == ["structure"]
    assert verify(fleet.ledger).clean


def test_a_worker_lost_in_the_middle_of_a_dump_costs_a_retry_and_nothing_else(fleet: Fleet) -> None:
    known = len(fleet.ledger.rows())
    before = backups(fleet, "kindergarten", "app")
    fleet.oss.faults.slow_s = 30  # whoever dumps now waits for the store
    runs = fleet.trigger()
    lost = ""
    until = time.monotonic() + 120
    while not lost and time.monotonic() < until:
        dumping = [row for row in fleet.ledger.rows()[known:] if (row.duty, row.target) == ("back_up", "app")]
        lost = dumping[0].host if dumping else ""
        time.sleep(0.2)
    assert lost, "kindergarten/app was not begun"
    fleet.kill(lost)
    fleet.oss.faults.slow_s = 0
    assert fleet.wait_for_runs(runs, 500) == dict.fromkeys(runs, "success"), fleet.failures(runs)
    died = [one for one in fleet.ledger.acts("kindergarten", duty="back_up", target="app") if one.state == "died"]
    assert [one.started.host for one in died] == [lost]
    new = set(backups(fleet, "kindergarten", "app")) - set(before)
    whole = [one for one in new if f"fleet/kindergarten/app/{one}/manifest.json" in fleet.oss.keys]
    assert len(whole) == 1, "one backup of this night, and it is whole"
    assert new == set(whole), "what the lost worker had begun is swept"
    assert verify(fleet.ledger).clean
