"""What the week did: backups restored, tables and partitions tended, logs and Docker cleaned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from upkeep.domain.units import counted, first_few, human_bytes, human_seconds
from upkeep.reports.attempts import Attempt, last_of_each, one_line
from upkeep.reports.section import (
    MOST,
    SAYS_CHARS,
    Item,
    Section,
    light_of,
    more,
    says,
    whole,
    worst_first,
)
from upkeep.reports.target_line import Status

INNER = {"tend_table": "tend_tables", "alter_partitions": "tend_partitions", "rebuild": "drill"}
"""Acts within an act on the same database, or on the whole site, by the duty of the outer one: that one's light speaks
for them all.
"""

_BAD = ("ProofFailed", "ManifestBroken")
_COMPARED = {"tables": "table", "rows": "row", "objects": "object", "keys": "key", "entries": "entry"}
_REASONS = 4


def latest(attempts: Iterable[Attempt]) -> list[Attempt]:
    """The last try at each thing. What a restore proof said about its target as a whole (no scratch server, nothing to
    restore) no longer counts when a later try at the target got further.
    """
    last = last_of_each(attempts)
    tries: dict[str, int] = {}
    for attempt in last:
        if attempt.duty == "prove":
            tries[attempt.target] = max(attempt.try_number, tries.get(attempt.target, 0))
    return [
        attempt
        for attempt in last
        if attempt.duty != "prove" or attempt.backup_id or attempt.try_number == tries[attempt.target]
    ]


def name_of(attempt: Attempt) -> str:
    """What a person calls it; empty for what isn't the week's."""
    match attempt.duty:
        case "prove":
            return " ".join(filter(None, ("restore proof of", attempt.target, attempt.backup_id)))
        case "require_backup":
            return f"fresh backup of {attempt.target}"
        case "tend_tables":
            return f"care of the tables of {attempt.target}"
        case "tend_partitions":
            return f"partitions of {attempt.target}.{_partitioned(attempt)}"
        case "clean_logs":
            return f"cleaning of {attempt.target}"
        case "clean_docker":
            return "cleaning of Docker"
        case "review_databases":
            return "review of the databases"
        case _:
            return ""


def restored(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    """A backup that came back unlike its source is bad; one that could not be restored may be as good as any."""
    tries = latest(own)
    proven = [attempt for attempt in tries if attempt.state == "done" and attempt.text("level")]
    bad = [attempt for attempt in tries if attempt.failed_as in _BAD]
    items = [_not_restored(attempt) for attempt in tries if attempt not in proven]
    for target in dict.fromkeys(attempt.target for attempt in proven):
        items.append(_alike([attempt for attempt in proven if attempt.target == target]))
    parts = []
    unsure = sum("rows_are" in attempt.mapping("figures") for attempt in proven)
    alike = "and alike" + (f", of {unsure} the rows not compared" if unsure else "")
    if proven:
        spent = sum(attempt.number("seconds") or 0 for attempt in proven)
        parts.append(f"{_backups(proven)} restored in {human_seconds(spent)} {alike}")
    if bad:
        parts.append(f"{_backups(bad)} bad")
    if unable := [attempt for attempt in tries if attempt.state in ("failed", "died") and attempt not in bad]:
        parts.append(f"{counted(len(unable), 'restore')} did not take place, which says nothing about the backups")
    figure = f"{_backups(proven)} restored {alike}" if proven else "no backup restored"
    return Section("Restored backups", "; ".join(parts) or "no backup was restored", worst_first(items), figure)


def _alike(proven: Sequence[Attempt]) -> Item:
    """All of one target; the figures are those of the newest, which is restored first."""
    newest = max(proven, key=lambda attempt: attempt.backup_id)
    figures = newest.mapping("figures")
    seconds = newest.number("seconds")
    took = human_seconds(seconds) if seconds is not None else "an unknown time"
    spent = ", ".join(f"{name} {human_seconds(part)}" for name, part in _phases(newest.mapping("phases"), seconds or 0))
    size = f" of {human_bytes(newest.size)}" if newest.size else ""
    what = f"{newest.backup_id}{size} in {took}" + (f" ({spent})" if spent else "")
    if len(proven) > 1:
        what += f", the newest of {len(proven)}"
    notes = [note for attempt in proven for note in attempt.texts("notes")]
    light = next((light for attempt in proven if (light := light_of(attempt)) is not Status.GREEN), Status.GREEN)
    return Item(
        light, "restored", newest.target, f"{what}; alike: {compared_words(figures)}",
        one_line("; ".join(dict.fromkeys(notes)), SAYS_CHARS),
    )  # fmt: skip


def _phases(phases: Mapping[str, Any], seconds: float) -> list[tuple[str, float]]:
    """What the time went into, the longest first; parts of parts and what took no time to speak of are left out."""
    parts = [
        (name, float(part))
        for name, part in phases.items()
        if name != "total" and ":" not in name and isinstance(part, int | float) and part > seconds / 100
    ]
    return sorted(parts, key=lambda part: -part[1])


def compared_words(figures: Mapping[str, Any]) -> str:
    words = []
    for name, noun in _COMPARED.items():
        if isinstance(count := figures.get(name), int) and not (name == "rows" and "rows_are" in figures):
            words.append(counted(count, noun))
        if name == "rows" and (sums := whole(figures.get("checksums"))):
            words.append(f"the content of {counted(sums, 'table')}")
    if checks := whole(figures.get("checks")):
        words.append(f"{counted(checks, 'check')} of the site hold{'s' if checks == 1 else ''}")
    if expired := whole(figures.get("expired")):
        words.append(f"{expired:,} expired meanwhile")
    words += _sampled(figures.get("sample"))
    return ", ".join(words) or "as far as its manifest tells"


def _sampled(sample: Any) -> list[str]:
    """Of a Redis: which types of keys a sample of them had, and how many of it expire."""
    databases = [one for one in sample.values() if isinstance(one, dict)] if isinstance(sample, dict) else []
    seen = sum(whole(one.get("sampled")) for one in databases)
    if not seen:
        return []
    types: Counter[str] = Counter()
    for one in databases:
        found = one.get("types")
        types.update({kind: whole(count) for kind, count in found.items()} if isinstance(found, dict) else {})
    expire = sum(whole(one.get("sampled")) * whole(one.get("ttl_pct")) for one in databases) / seen
    named = ", ".join(f"{count:,} {kind}" for kind, count in types.most_common())
    return [f"of {seen:,} looked at {named}; {expire:.0f} % expire"]


def _not_restored(attempt: Attempt) -> Item:
    subject = " ".join(filter(None, (attempt.target, attempt.backup_id)))
    trouble = attempt.trouble
    if trouble is None:
        label = "killed" if attempt.state == "died" else light_of(attempt).label
        said = says(attempt) if attempt.state != "done" else attempt.outcome
        return Item(light_of(attempt), label, subject, said, attempt.text("hint"))
    label = "bad" if trouble.kind in _BAD else "not restored"
    return Item(Status.RED, label, subject, one_line(trouble.why, SAYS_CHARS), one_line(trouble.hint, SAYS_CHARS))


def fresh_backups(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    """Behind which the week works."""
    targets = last_of_each(own)
    good = [attempt for attempt in targets if light_of(attempt) is Status.GREEN]
    items = [
        Item(light_of(attempt), "missing", attempt.target, says(attempt), _hint(attempt))
        for attempt in targets
        if attempt not in good
    ]
    named = ", ".join(f"{attempt.target} {attempt.backup_id}" for attempt in good)
    summary = f"{len(good)} of {counted(len(targets), 'target')} with a proven backup of the last night"
    return Section("Backups it stands behind", f"{summary}: {named}" if named else summary, tuple(items))


def tables(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    """What was done to which table and why; what stayed as it was is a number."""
    whole_databases = [attempt for attempt in last_of_each(own) if attempt.duty == "tend_tables"]
    steps = [attempt for attempt in last_of_each(own) if attempt.duty == "tend_table"]
    done = sorted((step for step in steps if step.state == "done"), key=lambda step: -(step.size or 0))
    items = [_table(step) for step in [*[step for step in steps if step.state != "done"], *done[:MOST]]]
    items += more(len(done) - MOST, "tended")
    for database in whole_databases:
        items += [
            Item(Status.AMBER, "refused", database.target, one_line(line, SAYS_CHARS))
            for line in database.texts("refused")
        ]
        if waiting := [" ".join(map(str, pair)) for pair in _pairs(database.detail.get("postponed"))]:
            said = f"{first_few(waiting, MOST)}: first in the next window"
            items.append(Item(Status.AMBER, "no time left", database.target, one_line(said, SAYS_CHARS)))
        items += [
            Item(Status.GREEN, "note", database.target, one_line(note, SAYS_CHARS)) for note in database.texts("notes")
        ]
    summary = "; ".join(f"{database.target}: {_one_sentence(says(database))}" for database in whole_databases)
    freed = sum(step.size or 0 for step in done)
    tended = {step.target for step in done if step.number("seconds") is not None}
    figure = f"{counted(len(tended), 'table')} tended" + (f" ({human_bytes(freed)} freed)" if freed else "")
    return Section(
        "Tables", summary or "the ledger has only single steps", worst_first(items), figure if tended else ""
    )


def _table(step: Attempt) -> Item:
    kind = step.text("kind") or step.command
    if step.state != "done":
        said = step.text("reason") if step.state == "skipped" else step.outcome
        return Item(light_of(step), f"{kind} {step.state}", step.target, one_line(said, SAYS_CHARS), step.text("why"))
    before, after, seconds = step.number("before"), step.number("after"), step.number("seconds")
    parts = []
    if before and after is not None:
        same = "" if kind == "analyze" or before == after else f" -> {human_bytes(int(after))}"
        parts.append(f"{human_bytes(int(before))}{same}")
    if seconds is not None:
        parts.append(human_seconds(seconds))
    said = ", ".join(parts) if seconds is not None else step.text("summary")
    return Item(Status.GREEN, kind, step.target, said or "done", step.text("why"))


def _pairs(value: Any) -> list[list[Any]]:
    return [pair for pair in value if isinstance(pair, list)] if isinstance(value, list) else []


def _one_sentence(summary: str) -> str:
    """Without the first of the troubles, which has a line of its own below."""
    counts, _, rest = summary.partition("; ")
    freed = rest.partition("; ")[0]
    return f"{counts}, {freed}" if freed.endswith(" freed") else counts


def partitions(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    """Each table with a rule; why a partition was made or taken away stands below it."""
    rules = [attempt for attempt in last_of_each(own) if attempt.duty == "tend_partitions"]
    steps = [attempt for attempt in own if attempt.duty == "alter_partitions" and attempt.state == "done"]
    items = []
    for rule in rules:
        table = _partitioned(rule)
        why = dict.fromkeys(
            f"{step.text('step')}: {step.text('why')}"
            for step in steps
            if step.target == rule.target and _same_table(step.text("table"), table)
        )
        light, said = light_of(rule), says(rule).removeprefix(f"{table}: ")
        label = ("done" if why else "in order") if light is Status.GREEN else light.label
        below = "; ".join(filter(None, (*why, "" if light is Status.GREEN else _hint(rule))))
        items.append(Item(light, label, f"{rule.target}.{table}", said, one_line(below, SAYS_CHARS)))
    summary = f"{counted(len(rules), 'table')} looked at, {counted(len(steps), 'change')}"
    figure = counted(len(steps), "partition change") if steps else ""
    return Section("Partitions", summary, worst_first(items), figure)


def _partitioned(attempt: Attempt) -> str:
    return attempt.command.removeprefix("tend the partitions of ")


def _same_table(label: str, table: str) -> bool:
    """A rule may leave out the schema."""
    return label == table or label.endswith(f".{table}")


def cleaned_logs(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    folders = last_of_each(own)
    items = []
    for folder in folders:
        light = light_of(folder)
        touched = folder.rows or 0
        label = ("cleaned" if touched else "in order") if light is Status.GREEN else light.label
        reasons = [_reason(one) for one in folder.mappings("reasons")]
        below = "; ".join(filter(None, (*reasons[:_REASONS], _hint(folder))))
        items.append(Item(light, label, folder.target, says(folder), one_line(below, 2 * SAYS_CHARS)))
    gone, freed = sum(folder.rows or 0 for folder in folders), sum(folder.size or 0 for folder in folders)
    given = f"{human_bytes(freed)} of logs given back" if freed else ""
    what = f"{counted(gone, 'file')} removed or compressed" if gone else "nothing was old or large enough"
    summary = "; ".join(filter(None, (f"{what}, in {counted(len(folders), 'folder')}", given)))
    return Section("Log files", summary, worst_first(items), given)


def _reason(one: Mapping[str, Any]) -> str:
    """``keep 3 files: written within the last 30 d``, with an example of what goes."""
    names = one.get("examples")
    examples = [str(name) for name in names] if isinstance(names, list) else []
    named = f" ({', '.join(examples[:2])})" if one.get("action") != "keep" and examples else ""
    files = one.get("files")
    many = counted(files, "file") if isinstance(files, int) else "? files"
    return f"{one.get('action')} {many}: {one.get('why')}{named}"


def cleaned_docker(own: Sequence[Attempt], _: Sequence[str]) -> Section:
    engine = own[-1]
    gone, troubles, stays = engine.texts("gone"), engine.texts("troubles"), engine.texts("stays")
    items = [
        *(Item(Status.AMBER, "stays", "", one_line(trouble, SAYS_CHARS)) for trouble in troubles[:MOST]),
        *more(len(troubles) - MOST, "stays"),
        *(
            Item(Status.GREEN, "removed", "", one_line(line.removeprefix("remove "), SAYS_CHARS))
            for line in gone[:MOST]
        ),
        *more(len(gone) - MOST, "removed"),
        *(Item(Status.GREEN, "kept", "", one_line(line.partition(" ")[2], SAYS_CHARS)) for line in stays[:MOST]),
        *more(len(stays) - MOST, "kept"),
    ]
    freed = engine.size or 0
    return Section(
        "Docker", says(engine), worst_first(items), f"{human_bytes(freed)} of Docker given back" if freed else ""
    )


def _hint(attempt: Attempt) -> str:
    return attempt.trouble.hint if attempt.trouble else attempt.text("hint")


def _backups(attempts: Sequence[Attempt]) -> str:
    return counted(len(attempts), "backup")
