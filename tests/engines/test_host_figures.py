"""The machine's figures come from the kernel's files; here from files of our own, and once from the real ones."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from upkeep.domain.capacity import Measured
from upkeep.engines.host_figures import disk_figures, host_figures

STAT = "cpu  {user} 0 100 {idle} {waiting} 0 0 0 {guest} 0\ncpu0 1 0 1 1 1 0 0 0 0 0\nintr 5\n"
MEMINFO = "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     250 kB\n"
NET = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls ...
    lo: 65330817109 5075595 0 0 0 0 0 0 65330817109 5075595 0 0 0 0 0 0
  eth0:123456789012345  11  0 0 0 0 0 0        2000      21 0 0 0 0 0 0
  eth1:       0       0     0 0 0 0 0 0           0       0 0 0 0 0 0 0
vethab1:    500       0     0 0 0 0 0 0         500       0 0 0 0 0 0 0
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "stat").write_text(STAT.format(user=1000, idle=5000, waiting=50, guest=0))
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "loadavg").write_text("0.52 1.25 2.00 3/351 5115\n")
    (tmp_path / "net" / "dev").write_text(NET)
    return tmp_path


def worked(proc: Path, *, user: int, idle: int, waiting: int = 0, guest: int = 0) -> Callable[[], object]:
    """What stands in for a second of waiting: the counters went on by so much."""
    counters = STAT.format(user=1000 + user, idle=5000 + idle, waiting=50 + waiting, guest=guest)
    return lambda: (proc / "stat").write_text(counters)


def figures(measured: Measured) -> dict[tuple[str, str], float]:
    return {reading.key: reading.value for reading in measured.readings}


def test_cpu_is_the_share_of_time_not_idle_between_two_looks(proc: Path) -> None:
    found = figures(host_figures("worker-1", proc=proc, pause=worked(proc, user=30, idle=70)))
    assert found["cpu_pct", "worker-1"] == pytest.approx(30)


def test_waiting_for_a_disk_is_idling(proc: Path) -> None:
    found = figures(host_figures("worker-1", proc=proc, pause=worked(proc, user=30, idle=40, waiting=30)))
    assert found["cpu_pct", "worker-1"] == pytest.approx(30)


def test_the_time_of_guests_is_not_counted_twice(proc: Path) -> None:
    found = figures(host_figures("worker-1", proc=proc, pause=worked(proc, user=30, idle=70, guest=30)))
    assert found["cpu_pct", "worker-1"] == pytest.approx(30)


def test_memory_is_what_a_new_program_could_not_have(proc: Path) -> None:
    found = figures(host_figures("worker-1", proc=proc, pause=worked(proc, user=1, idle=1)))
    assert found["memory_pct", "worker-1"] == pytest.approx(75)
    assert found["memory_available_bytes", "worker-1"] == 250 * 1024


def test_load_is_read_over_one_five_and_fifteen_minutes(proc: Path) -> None:
    found = figures(host_figures("worker-1", proc=proc, pause=worked(proc, user=1, idle=1)))
    assert [found[f"load_{minutes}m", "worker-1"] for minutes in (1, 5, 15)] == [0.52, 1.25, 2.0]


def test_network_counters_are_read_even_where_the_number_touches_the_name(proc: Path) -> None:
    found = figures(host_figures("worker-1", proc=proc, pause=worked(proc, user=1, idle=1)))
    network = {key: value for key, value in found.items() if key[0].startswith("network")}
    assert network == {
        ("network_in_bytes", "worker-1:eth0"): 123456789012345,
        ("network_out_bytes", "worker-1:eth0"): 2000,
    }


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("stat", None, "CPU"),
        ("stat", "intr 5\n", "CPU"),
        ("meminfo", "MemTotal: 1000 kB\n", "memory"),
        ("meminfo", "", "memory"),
        ("loadavg", "high\n", "load"),
        ("net/dev", "1\n2\neth0: 1 2\n", "network"),
    ],
)
def test_a_file_that_cannot_be_read_costs_its_own_figures_only(
    proc: Path, file: str, content: str | None, what: str
) -> None:
    whole = figures(host_figures("worker-1", proc=proc, pause=worked(proc, user=1, idle=1)))
    pause = worked(proc, user=2, idle=1)
    if content is None:
        (proc / file).unlink()
    else:
        (proc / file).write_text(content)
    if file == "stat":
        pause = lambda: None  # noqa: E731 - the broken file must stay as it is
    measured = host_figures("worker-1", proc=proc, pause=pause)
    assert [why.split(" (")[0] for why in measured.unread] == [what]
    prefix = {"CPU": "cpu", "memory": "memory", "load": "load", "network": "network"}[what]
    assert {key for key in whole if not key[0].startswith(prefix)} == set(figures(measured))


def test_counters_that_stand_still_are_said_instead_of_dividing_by_nothing(proc: Path) -> None:
    measured = host_figures("worker-1", proc=proc, pause=lambda: None)
    assert len(measured.unread) == 1
    assert "stand still" in measured.unread[0]


def test_the_real_files_of_this_machine_can_be_read() -> None:
    measured = host_figures("here")
    assert measured.unread == []
    assert 0 <= figures(measured)["cpu_pct", "here"] <= 100
    assert 0 < figures(measured)["memory_pct", "here"] < 100


def test_a_disk_is_counted_as_df_counts_it(tmp_path: Path) -> None:
    found = figures(disk_figures("worker-1", [tmp_path]))
    ((_, target),) = [key for key in found if key[0] == "disk_pct"]
    mount = target.removeprefix("worker-1:")
    line = subprocess.run(["df", "-P", str(tmp_path)], capture_output=True, text=True, check=True).stdout.splitlines()[
        1
    ]
    assert line.split()[5] == mount
    assert found["disk_pct", target] == pytest.approx(int(line.split()[4].rstrip("%")), abs=2)
    used, free = found["disk_used_bytes", target], found["disk_free_bytes", target]
    assert 100 * used / (used + free) == pytest.approx(found["disk_pct", target])


def test_two_paths_on_one_disk_are_one_disk(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    found = disk_figures("worker-1", [tmp_path, tmp_path / "a", tmp_path / "a" / "not" / "there" / "yet"])
    assert [reading.metric for reading in found.readings].count("disk_pct") == 1
    assert found.unread == []


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="mounting a disk of one's own takes root")
def test_a_full_disk_of_its_own_shows_as_full_in_room_and_inodes(tmp_path: Path) -> None:
    mounted = tmp_path / "small"
    mounted.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=10", "none", str(mounted)], check=False)
    if made.returncode:
        pytest.skip("mounting isn't allowed here")
    try:
        (mounted / "half").write_bytes(b"x" * 32 * 1024)
        for number in range(6):
            (mounted / f"empty-{number}").touch()
        found = figures(disk_figures("worker-1", [mounted, tmp_path]))
        target = f"worker-1:{mounted}"
        assert found["disk_pct", target] == pytest.approx(50)
        assert found["inodes_pct", target] == pytest.approx(80)  # the top folder, the half and six empty ones of ten
        assert len([key for key in found if key[0] == "disk_pct"]) == 2
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
