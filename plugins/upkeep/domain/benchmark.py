"""The month's fixed queries: which statements may be timed, what their plans do, and what has changed since."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from upkeep.domain.units import cut

# One pass over both: a sign of the one inside of the other means nothing.
_ASIDE = re.compile(
    r"""(?P<comment>/\*.*?\*/|--(?=[\s]|$)[^\n]*)"""
    r"""|'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`]|``)*`|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$""",
    re.DOTALL | re.MULTILINE,
)
_BEGINS = re.compile(r"\s*\(*\s*(SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE)
_WRITES = re.compile(
    r"\b(INSERT|UPDATE|DELETE|MERGE|INTO|FOR\s+(?:NO\s+KEY\s+)?UPDATE|FOR\s+(?:KEY\s+)?SHARE|LOCK\s+IN\s+SHARE\s+MODE)\b"
    r"(?!\s*\()",
    re.IGNORECASE,
)
_ACTS = re.compile(
    r"\b(nextval|setval|set_config|pg_\w*(?:terminate|cancel|reload|advisory|promote|switch|rotate|create|drop|"
    r"slot|backup|reset|file_write|emit|import)\w*|"
    r"lo_\w+|dblink\w*|get_lock|release_lock|sleep|pg_sleep\w*|benchmark|load_file)\s*\(",
    re.IGNORECASE,
)


def why_refused(statement: str) -> str:
    """Why a statement can't be a benchmark; empty when it can.

    This keeps out what a read-only transaction lets through: files written by the server, locks, functions that act.
    What it can't know, such as a function of the site's own that writes, the transaction refuses when it is run.
    """
    if re.search(r"/\*M?!", statement):
        return "a benchmark has no /*! comments */: what a server runs of them depends on its release"
    bare = _ASIDE.sub(lambda found: " " if found["comment"] else "''", statement).strip().rstrip(";").rstrip()
    if re.search(r"#(?![>-])", bare):
        return "a benchmark's comments begin with --: only MySQL takes # for one"
    if ";" in bare:
        return "a benchmark is one statement"
    if not _BEGINS.match(bare):
        return "a benchmark reads: it begins with SELECT, WITH, VALUES or TABLE"
    if found := _WRITES.search(bare) or _ACTS.search(bare):
        return f"a benchmark only reads, and takes no locks: this has {' '.join(found[1].upper().split())}"
    return ""


LEAST_SLOWER_PCT = 10
LEAST_SLOWER_MS = 1.0
"""A median that grew by less than both is noise whatever the spread says: a few runs can lie close by chance."""
WORDS_CHARS = 160

# What a plan estimates, measures or could have used, in the words of PostgreSQL, MySQL and MariaDB; not what it does.
_PASSING = re.compile(
    r"cost|rows|width|time|loops|filtered|data_read|estimate|buffers|blocks|^r_|^id$|^select_id$|query_id|"
    r"query_type|json_schema|workers|possible_keys|used_columns|key_length|partitions$|subplans|planning|jit|"
    r"optimiz(?:ation|er)|nested_loop_id|settings|memory|disk|covering|^operation$|^heading$|^query$",
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"\d+")
_DATED = re.compile(r"\d{4,}(?:[-_]\d{1,2})*(?:[ T]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?")
"""``visits_p2026_11``, ``'2026-11-01'``: what a partition is called, and what a server makes of today's date."""


@dataclass(frozen=True)
class Timed:
    """One query, run several times. Milliseconds; ``reads`` are blocks or rows, by kind."""

    name: str
    text: str
    """A hash of the statement: another text under the same name is another query."""
    median_ms: float
    first_ms: float
    """The first quartile."""
    third_ms: float
    plan: str
    """A hash of what the plan does."""
    plan_words: str = ""
    reads: Mapping[str, int] = field(default_factory=dict)

    @property
    def spread_ms(self) -> float:
        return round(self.third_ms - self.first_ms, 3)


@dataclass(frozen=True)
class Compared:
    """``verdict``: ``new``, ``same``, ``faster``, ``slower``, ``plan changed``; ``says`` gives both figures."""

    verdict: str
    says: str
    slower: bool = False


def timed(
    name: str, statement: str, seconds: Sequence[float], plan: Any, reads: Mapping[str, int] | None = None
) -> Timed:
    """:param seconds: at least two runs."""
    first, _, third = quantiles(seconds, n=4, method="inclusive")
    middle, low, high = (round(value * 1000, 3) for value in (median(seconds), first, third))
    return Timed(name, digest(statement), middle, low, high, digest(essence(plan)), plan_words(plan), dict(reads or {}))


def compare_times(now: Timed, last: Timed | None) -> Compared:
    """Slower is what is slower beyond both spreads: its first quartile lies above the third of the last time."""
    if last is None:
        return Compared("new", "new: there is no run of about a month ago to compare it with")
    if last.text != now.text:
        return Compared("new", "its statement has changed since the last time: not compared")
    grown = now.median_ms - last.median_ms
    beyond = max(LEAST_SLOWER_MS, last.median_ms * LEAST_SLOWER_PCT / 100)
    slower = grown > beyond and now.first_ms > last.third_ms
    figures = f"{now.median_ms:,.2f} ms, was {last.median_ms:,.2f} ms (spread {last.spread_ms:,.2f} ms)"
    if last.plan != now.plan:
        words = f"another plan: {now.plan_words}; it was: {last.plan_words}; {figures}"
        return Compared("plan changed", words, slower)
    if slower:
        return Compared("slower", figures, True)
    if -grown > beyond and now.third_ms < last.first_ms:
        return Compared("faster", figures)
    return Compared("same", figures)


def essence(plan: Any) -> Any:
    """What a plan does, without estimates, figures and dates. Partitions of one table count once, whichever they are:
    each month has another.
    """
    if isinstance(plan, Mapping):
        return {
            str(key): essence(value) for key, value in sorted(plan.items()) if not _PASSING.search(str(key))
        }  # fmt: skip
    if isinstance(plan, list | tuple):
        parts = [essence(part) for part in plan]
        alike = {_NUMBERS.sub("#", json.dumps(part, sort_keys=True, default=str)) for part in parts}
        nodes = all(isinstance(part, Mapping) for part in parts)  # and no list of columns
        return parts[:1] if nodes and len(parts) > 2 and len(alike) == 1 else parts
    return _DATED.sub("#", plan) if isinstance(plan, str) else plan


def plan_words(plan: Any) -> str:
    """How a plan gets at its rows, in the order in which it says so: ``Index Scan users_pkey; Seq Scan logs``."""
    return cut("; ".join(dict.fromkeys(_steps(plan))) or "no table", WORDS_CHARS)


def _steps(plan: Any) -> Iterator[str]:
    if isinstance(plan, Mapping):
        if "access_type" in plan and not str(plan.get("table_name", "<")).startswith("<"):  # MySQL and MariaDB
            yield " ".join(
                str(plan[name]) for name in ("access_type", "table_name", "key", "index_name") if plan.get(name)
            )
        elif "Node Type" in plan:
            names = ("Node Type", "Relation Name", "Index Name")
            if "Scan" in str(plan["Node Type"]) or "Join" in str(plan["Node Type"]):
                yield " ".join(str(plan[name]) for name in names if plan.get(name))
        for value in plan.values():
            yield from _steps(value)
    elif isinstance(plan, list | tuple):
        for part in plan:
            yield from _steps(part)


def digest(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]
