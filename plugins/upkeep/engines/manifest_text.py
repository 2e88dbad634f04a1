"""Kubernetes objects as YAML that every parser reads alike."""

from __future__ import annotations

import re
from typing import Any

import yaml

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9 ._/@%+=-]*[A-Za-z0-9/_=]|[A-Za-z]")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}


class _Dumper(yaml.CSafeDumper):
    """Text is only left bare where no version of YAML takes it for anything else.

    PyYAML leaves ``1e3`` bare, which kubectl reads as a number; a commit's hash can look like that.
    """

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    tag = "tag:yaml.org,2002:str"
    if "\n" in text and "\t" not in text and "\r" not in text:
        return dumper.represent_scalar(tag, text, style="|")  # the emitter quotes what it can't write like that
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return dumper.represent_scalar(tag, text)
    return dumper.represent_scalar(tag, text, style='"')


_Dumper.add_representer(str, _text)


def to_yaml(manifest: dict[str, Any]) -> bytes:
    """One document, the same bytes for the same object."""
    return yaml.dump(
        manifest, Dumper=_Dumper, encoding="utf-8", allow_unicode=True, sort_keys=True, width=100_000, indent=2
    )
