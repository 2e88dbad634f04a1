"""Every setting of a site file as Markdown: what ``docs/site_file.md`` holds, made from the models."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

from upkeep.site.site import Site

_WORDS = {"string": "text", "integer": "whole number", "boolean": "true or false"}


def reference() -> str:
    """A table for each section, in the order of the file."""
    schema = Site.model_json_schema()
    models = schema.pop("$defs")
    places: dict[str, list[str]] = {}  # of each model, for some stand at several places
    todo = [("", schema)]
    while todo:
        place, model = todo.pop(0)
        for name, field in model["properties"].items():
            for below, mark in _models_of(field):
                places.setdefault(below, []).append(f"{place}{name}{mark}")
                if len(places[below]) == 1:
                    todo.append((f"{place}{name}{mark}.", models[below]))
    parts = [_table(schema, models)]
    for below, where in sorted(places.items(), key=lambda each: each[1][0]):
        says = _plain(models[below]["description"])
        parts.append(f"## {', '.join(f'`{place}`' for place in where)}\n\n{says}\n\n{_table(models[below], models)}")
    return "\n\n".join(parts)


def _table(model: dict[str, Any], models: dict[str, Any]) -> str:
    rows = [
        f"| `{name}` | {_kind(field)} | {_default(name, field, model)} | {_meaning(field, models)} |"
        for name, field in model["properties"].items()
    ]
    return "\n".join(["| setting | takes | default | |", "|---|---|---|---|", *rows])


def _models_of(field: dict[str, Any], mark: str = "") -> Iterator[tuple[str, str]]:
    """The models that a field may hold, each with ``[]`` where it holds a list of them."""
    if "$ref" in field:
        yield field["$ref"].rpartition("/")[2], mark
    for choice in field.get("anyOf", ()):
        yield from _models_of(choice, mark)
    if "items" in field:
        yield from _models_of(field["items"], "[]")


def _kind(field: dict[str, Any]) -> str:
    if choices := [_kind(choice) for choice in field.get("anyOf", ()) if choice.get("type") != "null"]:
        return ", or ".join(choices)
    if "$ref" in field:
        return "a section"
    if "items" in field:
        return "sections" if "$ref" in field["items"] else f"list: {_kind(field['items'])}"
    if values := field.get("enum") or ([field["const"]] if "const" in field else []):
        return ", ".join(f"`{value}`" for value in values)
    bounds = [
        f"{words} {field[key]:g}"
        for key, words in (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"))
        if key in field
    ]
    return " ".join([_WORDS.get(field["type"], field["type"]), *bounds])


def _default(name: str, field: dict[str, Any], model: dict[str, Any]) -> str:
    if name in model.get("required", ()):
        return "**needed**"
    value = field.get("default")
    return "" if value is None or isinstance(value, dict) else f"`{json.dumps(value).strip(chr(34))}`"


def _meaning(field: dict[str, Any], models: dict[str, Any]) -> str:
    """Its own description, or else that of what it holds."""
    inside = [choice["description"] for choice in field.get("anyOf", ()) if "description" in choice]
    below = [models[name]["description"].partition(". ")[0].rstrip(".") for name, _ in _models_of(field)]
    return _plain(next(iter([*([field["description"]] if "description" in field else []), *inside, *below]), ""))


def _plain(text: str) -> str:
    """On one line, as Markdown for a table."""
    line = " ".join(inspect.cleandoc(text).split()).replace("``", "`")
    return re.sub(r"([|*])", r"\\\1", line).replace("<", "&lt;")
