"""What to change in the settings of a server or its kernel, and why: a rule for each setting. Nothing is set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from upkeep.domain.findings import Inspection, Severity
from upkeep.domain.units import human_bytes, human_seconds


@dataclass(frozen=True)
class Advice:
    """What a manual or the server's own documentation advises.

    ``current`` and ``advised`` are for people; ``value`` is what to set, sizes in bytes.
    """

    setting: str
    current: str
    advised: str
    why: str
    value: str
    severity: Severity = "low"


@dataclass(frozen=True)
class Server:
    """What advice depends on besides the settings.

    :param memory: bytes of the machine, where the server runs on this one.
    :param data: bytes that the databases hold.
    """

    memory: int | None = None
    data: int = 0
    logs_binary: bool = False


Values = Mapping[str, str]
Rule = Callable[[Values, Server], Advice | None]


def advise(rules: Iterable[Rule], values: Values, server: Server) -> Iterator[Advice]:
    for rule in rules:
        if advice := rule(values, server):
            yield advice


def judge_settings(
    inspection: Inspection,
    rules: Iterable[Rule],
    values: Values,
    server: Server,
    *,
    where: str,
    how: Callable[[Advice], str],
) -> None:
    """:param how: where a setting is changed, and whether that takes a restart."""
    for advice in advise(rules, values, server):
        inspection.add(
            "setting",
            f"{advice.setting} on {where}",
            advice.severity,
            f"{advice.setting} on {where} is {advice.current}; advised: {advice.advised}: {advice.why}",
            how(advice),
        )


def _switched(name: str, wanted: str, why: str, severity: Severity = "low") -> Rule:
    """A setting that is to have one value; servers say ON or 1, and some know more words than two."""
    same = {"on": {"on", "1", "yes", "true"}, "off": {"off", "0", "no", "false"}}.get(wanted.lower(), {wanted.lower()})

    def rule(values: Values, _: Server) -> Advice | None:
        current = values.get(name)
        return (
            None if current is None or current.lower() in same else Advice(name, current, wanted, why, wanted, severity)
        )

    return rule


def _number(
    name: str,
    why: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    manual: float | None = None,
    show: Callable[[float], str] = lambda number: _plain(number),
    off: float | None = None,
) -> Rule:
    """A setting with a bound.

    :param manual: the manual's value, where one that is a bit short of it will do.
    :param off: the value that switches it off, and so breaks every bound.
    """

    def rule(values: Values, _: Server) -> Advice | None:
        number = _float(values.get(name))
        if number is None:
            return None
        if at_least is not None and (number < at_least or number == off):
            advised = f"at least {show(at_least)}" if manual is None else show(manual)
            return Advice(name, _shown(number, off, show), advised, why, _plain(manual or at_least), "low")
        if at_most is not None and (number > at_most or number == off):
            advised = f"at most {show(at_most)}" if manual is None else show(manual)
            return Advice(name, _shown(number, off, show), advised, why, _plain(manual or at_most), "low")
        return None

    return rule


def _shown(number: float, off: float | None, show: Callable[[float], str]) -> str:
    return "off" if number == off else show(number)


def _plain(number: float) -> str:
    return f"{number:.12g}"


def _bytes(number: float) -> str:
    return human_bytes(int(number))


def _float(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _buffer_pool(values: Values, server: Server) -> Advice | None:
    """Half the memory of a machine that may not be its own; never more than the data and as much again as it grows."""
    size = _float(values.get("innodb_buffer_pool_size"))
    if size is None or size >= server.data * 1.25:
        return None
    if server.memory is not None:
        wanted = min(server.memory * 0.5, server.data * 1.25)
        if size >= wanted * 0.9:
            return None
        return Advice(
            "innodb_buffer_pool_size", _bytes(size), f"about {_bytes(wanted)}",
            f"the data is {_bytes(server.data)} and the machine has {_bytes(server.memory)}: what isn't in it is read "
            "from disk", _plain(int(wanted)), "medium",
        )  # fmt: skip
    if size >= server.data * 0.25:
        return None
    return Advice(
        "innodb_buffer_pool_size", _bytes(size), f"a quarter of the data or more ({_bytes(server.data * 0.25)})",
        f"the data is {_bytes(server.data)}: what isn't in it is read from disk; half to three quarters of the "
        "server's memory are usual", _plain(int(server.data * 0.25)), "medium",
    )  # fmt: skip


def _sync_binlog(values: Values, server: Server) -> Advice | None:
    if not server.logs_binary or values.get("sync_binlog", "1") == "1":
        return None
    why = "a crash of the machine loses commits from the binary log, and with them replicas and point-in-time recovery"
    return Advice("sync_binlog", values["sync_binlog"], "1", why, "1", "medium")


def _shared_buffers(values: Values, server: Server) -> Advice | None:
    size = _float(values.get("shared_buffers"))
    if size is None or size >= server.data:
        return None
    if server.memory is not None:
        wanted = min(server.memory * 0.25, max(server.data, 268_435_456))
        if size >= wanted * 0.8:
            return None
        return Advice(
            "shared_buffers", _bytes(size), f"about {_bytes(wanted)}",
            f"the manual gives it 25 % of the memory ({_bytes(server.memory)}); the data is {_bytes(server.data)}",
            _plain(int(wanted)), "medium",
        )  # fmt: skip
    if size >= 268_435_456:
        return None
    return Advice(
        "shared_buffers", _bytes(size), "at least 268.4 MB, or 25 % of the server's memory",
        f"the manual's value; the data is {_bytes(server.data)}", "268435456",
    )  # fmt: skip


def _cache_size(values: Values, server: Server) -> Advice | None:
    """It is only what the planner believes; too little makes it shun indexes."""
    size, buffers = _float(values.get("effective_cache_size")), _float(values.get("shared_buffers"))
    if size is None or buffers is None:
        return None
    wanted = server.memory * 0.75 if server.memory is not None else max(buffers * 2, 1_073_741_824)
    if size >= wanted * 0.5:
        return None
    why = "the planner believes that so much is cached; the manual gives it 75 % of the memory. It reserves nothing"
    return Advice("effective_cache_size", _bytes(size), f"about {_bytes(wanted)}", why, _plain(int(wanted)))


def _work_memory(values: Values, server: Server) -> Advice | None:
    """Every sort of every session may take it."""
    size, sessions = _float(values.get("work_mem")), _float(values.get("max_connections"))
    if size is None or sessions is None:
        return None
    if size < 4_194_304:
        why = "smaller sorts go to disk; the manual's value"
        return Advice("work_mem", _bytes(size), "at least 4.2 MB", why, "4194304")
    if server.memory is not None and size * sessions > server.memory:
        return Advice(
            "work_mem", _bytes(size), f"at most {_bytes(server.memory / sessions)}",
            f"{sessions:g} sessions may take it at once, and the machine has {_bytes(server.memory)}",
            _plain(int(server.memory / sessions)), "medium",
        )  # fmt: skip
    return None


def _wal_compression(values: Values, _: Server) -> Advice | None:
    """Since 15 it names an algorithm."""
    if values.get("wal_compression", "on").lower() != "off":
        return None
    why = "full pages are most of the write-ahead log; compressed they cost less disk, network and archive"
    return Advice("wal_compression", "off", "on (lz4 or zstd from 15 on)", why, "on")


MYSQL_RULES: tuple[Rule, ...] = (
    _buffer_pool,
    _switched(
        "innodb_flush_log_at_trx_commit", "1", "a crash of the machine loses commits of the last second", "medium"
    ),
    _sync_binlog,
    _switched("innodb_doublewrite", "on", "a crash in the middle of a page's write destroys the page", "high"),
    _switched("innodb_file_per_table", "on", "otherwise a dropped table's room is never given back"),
    _switched("slow_query_log", "on", "the manual's way to find slow statements"),
    _number("long_query_time", "the manual logs statements from 2 s on", at_most=2, show=human_seconds),
    _number("wait_timeout", "the manual's value; pools that keep sessions for longer find them cut", at_least=28_800,
            show=human_seconds),
    _number("interactive_timeout", "the manual's value", at_least=28_800, show=human_seconds),
    _switched("performance_schema", "on", "without it nobody counts statements, waits and the use of indexes"),
    _number("innodb_redo_log_capacity", "a small redo log makes every busy minute a checkpoint", at_least=268_435_456,
            show=_bytes),
    _number("innodb_log_file_size", "a small redo log makes every busy minute a checkpoint", at_least=100_663_296,
            show=_bytes),
)  # fmt: skip
"""``innodb_log_file_size`` isn't read where ``innodb_redo_log_capacity`` is there: MySQL 8.0.30 still shows it."""
POSTGRES_RULES: tuple[Rule, ...] = (
    _switched("autovacuum", "on", "without it tables bloat, and in the end transaction ids run out", "high"),
    _switched("track_counts", "on", "autovacuum and this review live on what it counts", "high"),
    _switched("fsync", "on", "a crash of the machine may leave the database beyond repair", "high"),
    _switched("full_page_writes", "on", "a crash in the middle of a page's write destroys the page", "high"),
    _shared_buffers,
    _cache_size,
    _work_memory,
    _number("maintenance_work_mem", "vacuum and index builds work in it; the manual's value", at_least=67_108_864,
            show=_bytes),
    _number("max_connections", "the manual's value, for a start; each session costs memory, a pooler none", at_most=300,
            manual=100),
    _number("checkpoint_completion_target", "spreads a checkpoint's writes; the manual's value", at_least=0.9),
    _number("wal_buffers", "the manual's value; -1 makes it a 32nd of shared_buffers", at_least=4_194_304,
            manual=16_777_216, show=_bytes),
    _wal_compression,
    _number("random_page_cost", "the manual's value, for SSDs; at 4 the planner shuns indexes", at_most=2, manual=1.1),
    _number("effective_io_concurrency", "the manual's value, for SSDs", at_least=16, manual=200),
    _number("log_min_duration_statement", "the manual logs statements from 1 s on", at_most=1000, off=-1,
            show=lambda ms: human_seconds(ms / 1000)),
    _switched("log_checkpoints", "on", "the manual's setting: shows when writes come too fast"),
    _switched("log_connections", "on", "the manual's setting, and evidence of who was there"),
    _switched("log_disconnections", "on", "the manual's setting, and evidence of who was there"),
)  # fmt: skip
KERNEL_RULES: tuple[Rule, ...] = (
    _number("net.core.somaxconn", "connections that wait to be accepted", at_least=4096, manual=65_535),
    _number("net.core.netdev_max_backlog", "packets that wait for the kernel", at_least=1000, manual=5000),
    _number("net.ipv4.tcp_max_syn_backlog", "connections that are half open", at_least=1024, manual=65_535),
    _number("net.ipv4.tcp_fin_timeout", "seconds that a closed connection keeps its port", at_most=60, manual=30),
    _number("net.ipv4.tcp_keepalive_time", "balancers forget idle connections sooner", at_most=1200, manual=1200),
    _number("vm.swappiness", "a database that is swapped out is slower than none", at_most=10, manual=10),
    _number("vm.dirty_ratio", "writers stop when so many percent of memory wait for the disk", at_most=15, manual=15),
    _number("vm.dirty_background_ratio", "writing to disk should begin early", at_most=5, manual=5),
    _number("fs.file-max", "open files of the machine", at_least=65_535, manual=65_535),
    _number("fs.nr_open", "open files that a process may be allowed", at_least=1_048_576, manual=1_048_576),
    _number("nofile", "open files of the server's process", at_least=32_768, manual=65_535),
    _number("nproc", "processes of the server's account", at_least=16_384, manual=32_768),
)
"""The manual's values; where a kernel of today has by default what is ample, that will do."""
