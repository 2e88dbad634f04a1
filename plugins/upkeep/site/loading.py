"""Reading site files: every problem of every file, each with its path in the file."""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from upkeep.domain.units import counted, human_bytes
from upkeep.errors import SiteFileError
from upkeep.site.site import Site

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

LARGEST = 1_000_000
"""Bytes. The largest sites have some ten thousand; a dump or a log that lies in the wrong folder would be parsed with
every DAG.
"""
DEEPEST = 50
"""How many settings may stand within each other; a site has six. LibYAML reads a file by recursion in C: nested some
ten thousand deep it ends its process, which is the one that parses the DAGs of all sites.
"""
MOST = 100_000
"""Settings of a file, each as often as an alias (``*name``) repeats it; the largest sites have some thousand. Ten lines
that merge (``<<``) the line before ten times over would be written out as ten thousand million of them, in memory.
"""
_WORDS = {"extra_forbidden": "unknown key", "missing": "missing", "model_type": "must hold keys and values"}


def load_site(path: Path) -> Site:
    """Read one site file. Errors: ``SiteFileError`` with every problem, each with its path in the file."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(LARGEST + 1) if is_file else b""
    except OSError as error:
        raise SiteFileError(
            f"site file {path} can't be read: {error.strerror}", hint="check that it is a file, its name and its mode"
        ) from error
    if not is_file:
        raise SiteFileError(f"site file {path} is not a file, but a pipe or a device", hint="move it elsewhere")
    if len(content) > LARGEST:
        raise SiteFileError(
            f"site file {path} is larger than {human_bytes(LARGEST)}", hint="if it isn't a site file, move it elsewhere"
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SiteFileError(
            f"site file {path} is not in UTF-8: line {line} holds the byte 0x{content[error.start]:02x}",
            hint=f"save it in UTF-8; if it is Chinese: iconv -f GB18030 -t UTF-8 {path}",
        ) from error
    return site_from(text, path)


@lru_cache(maxsize=256)
def site_from(text: str, path: Path) -> Site:
    """The site that a file's text describes; ``path`` names it in errors. Errors: ``SiteFileError`` as above.

    Kept by its text: who reads all of ``dags/`` in one process, or shows report pages, reads the same files over and
    over.
    """
    try:
        _refuse_boundless(text)
        content = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader subclass
    except yaml.YAMLError as error:
        raise SiteFileError(
            f"site file {path} is not valid YAML",
            hint=f"fix it, then run: upkeep check {path}",
            problems=(_yaml_problem(error, text),),
        ) from error
    if not isinstance(content, dict):
        raise SiteFileError(
            f"site file {path} holds no settings", hint="start from a sample in include/sites", problems=()
        )
    try:
        return Site.model_validate(content)
    except ValidationError as error:
        raise SiteFileError(
            f"site file {path} has {counted(error.error_count(), 'problem')}:",
            hint=f"fix them, then run: upkeep check {path}",
            problems=tuple(_problems(error, content)),
        ) from error


def load_sites(folder: Path) -> tuple[dict[str, Site], list[SiteFileError]]:
    """Every ``*.yaml`` of ``folder``, as ``load_files`` has it."""
    if not folder.is_dir():
        return {}, [
            SiteFileError(
                f"the folder of site files {folder} does not exist", hint="set UPKEEP_SITES to the right folder"
            )
        ]
    files = sorted((*folder.glob("*.yaml"), *folder.glob("*.yml")))
    if not files:
        return {}, [
            SiteFileError(
                f"the folder of site files {folder} holds none (*.yaml)",
                hint="upkeep init SITE writes a first one; UPKEEP_SITES names another folder",
            )
        ]
    return load_files(files)


def load_files(paths: Iterable[Path]) -> tuple[dict[str, Site], list[SiteFileError]]:
    """The sites by name, and one error for each file that can't be used.

    One broken file never hides the others. A site name used twice is an error of the later file.
    """
    sites: dict[str, Site] = {}
    broken: list[SiteFileError] = []
    origin: dict[str, Path] = {}
    for path in paths:
        try:
            site = load_site(path)
        except SiteFileError as error:
            broken.append(error)
            continue
        if site.name in sites:
            broken.append(
                SiteFileError(
                    f"site file {path} is called {site.name!r}, as is {origin[site.name]}",
                    hint="give one of them another name; a site's backups are stored under it",
                )
            )
            continue
        sites[site.name], origin[site.name] = site, path
    return sites, broken


def _without_waiting(path: str, flags: int) -> int:
    """Opening a pipe the plain way waits for somebody to write to it, for ever where nobody does."""
    return os.open(path, flags | os.O_NONBLOCK)


def _refuse_boundless(text: str) -> None:
    """Before anything is built of it: what is nested, or repeated by aliases, beyond all bounds."""
    repeats: dict[str | None, int] = {}  # by anchor: how many settings its alias stands for, where it is not one
    around: list[tuple[str | None, int]] = []  # of those that are still open: anchor, and how many came before
    count = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        match event:
            case yaml.AliasEvent(anchor=name):
                count += repeats.get(name, 1)
            case yaml.CollectionStartEvent(anchor=name):
                around.append((name, count))
                repeats[name] = MOST  # until it ends: its alias would stand within itself
                count += 1
            case yaml.CollectionEndEvent():
                name, before = around.pop()
                repeats[name] = count - before
            case yaml.ScalarEvent():
                count += 1
        if len(around) > DEEPEST:
            raise _refused(event, f"nested more than {DEEPEST} deep")
        if count > MOST:
            raise _refused(event, f"more than {MOST:,} settings, repeated ones (aliases such as *name) included")


def _refused(event: yaml.Event, problem: str) -> yaml.MarkedYAMLError:
    where: Any = event.start_mark  # the stubs of its two loaders tell their marks apart
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where)


def _yaml_problem(error: yaml.YAMLError, text: str) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.encode().count(b"\n", 0, error.position) + 1
        return f"line {line}: {error.reason}"
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return str(error)
    began = f" (line {error.context_mark.line + 1})" if error.context_mark else ""
    context = f"{error.context}{began}, " if error.context else ""
    return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {context}{error.problem}"


def _problems(error: ValidationError, content: object) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        what = _WORDS.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        # Our own validators say what they saw, and hide what is secret; so may be what stands under an unknown key.
        is_shown = problem["type"] not in ("value_error", "extra_forbidden")
        if is_shown and not isinstance(problem["input"], dict | list):
            what = f"{what} (is {problem['input']!r:.80})"
        yield f"{_place(problem, content) or 'file'}: {what}"


def _place(problem: ErrorDetails, content: Any) -> str:
    """Where in the file, such as ``databases[0].name``, without pydantic's names for the members of a union."""
    place = ""
    for part in problem["loc"]:
        try:
            content = content[part]
        except (LookupError, TypeError):
            if problem["type"] != "missing" or part != problem["loc"][-1]:
                continue
        place += f"[{part}]" if isinstance(part, int) else f".{part}"
    return place.lstrip(".")


class _StrictLoader(yaml.CSafeLoader):
    """YAML without the trap of a key that is listed twice, where the last one silently wins."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:
            # PyYAML lets these through where a value looks like a date or a number and is none: 2026-02-30.
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"{node.value!r:.80} is not a valid {kind}; a text needs quotes", node.start_mark
            ) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        # What only says that it is a mapping (!!map [a]) is for the base class to report, like an unhashable key.
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # "<<: *defaults" is for the base class, and what it brings may be overridden
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is listed twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
