"""What a log line says, with everything that varies or is secret taken out.

``normalise`` makes one text of all lines of one kind, so that they can be counted. ``sample`` shows one line as it was
written, as far as it may be shown: reports are mailed and kept, and applications log passwords.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from upkeep.domain.log_secrets import MAIL, conceal, conceal_people, conceal_words
from upkeep.domain.units import cut

KIND_CHARS = 240
SAMPLE_CHARS = 300
READ_CHARS = 2000
"""How much of a line is looked at, in characters: the message is at its beginning, a dump of the request at its end."""
JSON_CHARS = 16_000
"""Longer JSON isn't parsed; then the line is text like any other."""

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK = r"\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d+)?"
_ZONE = r"(?:\s?(?:Z\b|UTC\b|GMT\b|CST\b|[+-]\d\d:?\d\d\b|[A-Z][a-z]+/[A-Z][A-Za-z_]+\b))?"
_TIME = (
    rf"\b\d{{4}}([-/.])\d{{1,2}}\1\d{{1,2}}(?:[T ,_]\s?{_CLOCK}{_ZONE})?"
    rf"|\b\d{{1,2}}[-/ ]{_MONTH}[-/ ]\d{{4}}[: ]{_CLOCK}{_ZONE}"
    rf"|(?:\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?\b{_MONTH} [ \d]?\d,? (?:\d{{4}} )?{_CLOCK}(?: \d{{4}}\b)?"
    rf"|\b\d{{8}}[T ]?\d{{6}}Z?\b"
    r"|\d{4}年\d{1,2}月\d{1,2}日(?:\s?\d{1,2}[时:]\d{1,2}[分:](?:\d{1,2}秒?)?)?"
    rf"|\b\d{{1,2}}:\d\d:\d\d(?:[.,]\d+)?{_ZONE}"
)
_HEX = "[0-9a-fA-F]"
_VARIABLE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.ASCII), word)
    for pattern, word in (
        (_TIME, "<time>"),
        (rf"(?<![0-9A-Za-z]){_HEX}{{8}}-(?:{_HEX}{{4}}-){{3}}{_HEX}{{12}}(?![0-9A-Za-z])", "<id>"),
        (r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]\d)(?::\d{1,5})?", "<ip>"),
        (rf"(?<![\w:.])(?={_HEX}*:[0-9a-fA-F:]*\d){_HEX}{{0,4}}(?::{_HEX}{{0,4}}){{2,7}}(?:%\w+)?(?![\w:])", "<ip>"),
        (r"-[0-9a-f]{8,10}-[0-9a-z]{5}(?![0-9A-Za-z])", "-<id>"),  # a Deployment's pod
        (rf"(?<![0-9A-Za-z])0x{_HEX}+|@{_HEX}{{4,}}\b", "<id>"),
        (rf"(?<![0-9A-Za-z])(?=[0-9]*[a-fA-F]){_HEX}{{8,}}(?![0-9A-Za-z])", "<id>"),
        (r"\d{16,}", "<id>"),  # hexadecimal without a letter, by chance, or a snowflake
        (r"(?<![0-9A-Za-z])(?=[A-Za-z]*\d+[A-Za-z]+\d)[0-9A-Za-z]{8,}(?![0-9A-Za-z])", "<id>"),  # x7Kd93bQ
        (r"(?<![\w/])((?:/var)?/tmp/)[^\s\"',;:)]+", r"\1<path>"),
        (r"\d+(?:\.\d+)*", "<n>"),
    )
)
_QUOTED = re.compile(
    r"\"(?:[^\"\\]|\\.){0,500}\"|(?<![0-9A-Za-z])'(?:[^'\\]|\\.){0,500}'(?![0-9A-Za-z])|`[^`]{1,200}`"
    r"|“[^”]{0,200}”|‘[^’]{0,200}’|「[^」]{0,200}」",
)
_SAYING = re.compile(r"\b(msg|message|error|err|reason|cause|detail|event|exception)=\"((?:[^\"\\]|\\.)*)\"", re.I)
_CODE = re.compile(
    r"(?:\b[Ss]tatus(?:[ _-]?[Cc]ode)?\"?[ :=]{1,3}|\bHTTP[ /](?:\d(?:\.\d)?\"? )?)[1-5]\d\d\b"
    r"|\b(?:ORA|MY)-\d{4,6}\b|\bSQLSTATE[:=\[ ]{1,2}[0-9A-Z]{5}\b|\bERROR \d{4}(?= \([0-9A-Z]{5}\))"
    r"|\berrno[:= ]{1,2}\d+",
    re.ASCII,
)
"""Numbers that name a kind of error: 404 isn't 502, ORA-00600 isn't ORA-01555."""
_ACCESS = re.compile(r"\"([A-Z]{3,7}) (/[^\s\"?]{0,300})[^\"]{0,4000}\" ([1-5]\d\d) ", re.ASCII)
_ACCESS_STATUS = re.compile(r"\" ([1-5]\d\d) ", re.ASCII)
_LEADING_TIME = re.compile(r"(?:[\s\[(|]*<time>[\s\])|,:;-]*)+")
_REPEATED = re.compile(r"(<\w+>)(?:[\s,;]+\1)+")
_LEVELS = re.compile(
    r"\b(?:trace|debug|info|notice|warn(?:ing)?|error|fatal|crit(?:ical)?|panic|alert|emerg)\b|<\w+>", re.I
)

_HIDE_DIGITS = {ord("0") + digit: 0xE000 + digit for digit in range(10)}
_SHOW_DIGITS = {hidden: shown for shown, hidden in _HIDE_DIGITS.items()}

_JSON_LEVEL = ("level", "severity", "levelname", "log.level", "lvl", "s")
_JSON_TEXT = ("message", "msg", "log", "@message", "text", "event")
_JSON_CAUSE = ("error", "err", "exception", "reason", "error.message", "code")


def normalise(line: str) -> str:
    """The kind of message a line is: its words, with what differs from one time to the next replaced by ``<n>``,
    ``<id>``, ``<time>``, ``<ip>``, ``<mail>``, ``<path>``, ``<q>`` (quoted), and secrets by ``***``.

    At most ``KIND_CHARS`` characters. JSON lines are reduced to level, message and cause; lines of a web server's
    access log to method, path and status.

    >>> normalise("2026-11-21 02:00:03 ERROR 用户 1042 登录失败: 10.0.3.7:51234")
    'ERROR 用户 <n> 登录失败: <ip>'
    """
    text = _message_of(plain(line[:JSON_CHARS]))[:READ_CHARS]
    text = _SAYING.sub(r"\1=\2", conceal(text))
    text = _CODE.sub(lambda found: found[0].translate(_HIDE_DIGITS), text)
    kind = _generalised(_QUOTED.sub("<q>", text))
    if sum(map(str.isalpha, _LEVELS.sub("", kind))) < 3:  # all that it says stands in quotes
        kind = _generalised(text)
    return cut(kind.translate(_SHOW_DIGITS), KIND_CHARS)


def code_of(line: str) -> str:
    """The error codes in a line that ``normalise`` leaves standing. Lines that are equal but for other digits, and
    have the same codes, are of one kind.
    """
    return "".join(_CODE.findall(line)) + "".join(_ACCESS_STATUS.findall(line))


def sample(line: str) -> str:
    """The line itself on one line, at most ``SAMPLE_CHARS`` characters, without secrets and without what names a
    person: e-mail addresses, Chinese mobile numbers and citizen ids.
    """
    text = conceal_people(conceal_words(conceal(plain(line[:READ_CHARS]))))
    return cut(" ".join(text.split()), SAMPLE_CHARS)


def plain(text: str) -> str:
    """Without colours, and with a space for everything that can't be seen or acts on a terminal: controls, overrides
    of direction, halves of characters.
    """
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def _generalised(text: str) -> str:
    text = MAIL.sub("<mail>", text)
    for pattern, word in _VARIABLE:
        text = pattern.sub(word, text)
    text = _LEADING_TIME.sub("", text, count=1) if text.lstrip(" [(|").startswith("<time>") else text
    return " ".join(_REPEATED.sub(r"\1…", text).split())


def _message_of(text: str) -> str:
    """What a structured line says, in words; any other line as it stands."""
    start = text.find("{")
    if 0 <= start < 200 and text.rstrip().endswith("}"):
        try:
            fields = json.loads(text[start:])
        except (ValueError, RecursionError):
            fields = None
        if isinstance(fields, dict) and (said := _said(fields)):
            return f"{text[:start]}{said}"
    if access := _ACCESS.search(text):
        method, path, status = access.groups()
        return f"{method} {path} HTTP {status}"
    return text


def _said(fields: Mapping[str, object]) -> str:
    """``level message: cause`` of a JSON line; empty when it has no field that is known to hold a message."""
    told = next((text for name in _JSON_TEXT if (text := _text(fields.get(name)))), "")
    cause = next((text for name in _JSON_CAUSE if (text := _text(fields.get(name)))), "")
    if not told and not cause:
        return ""
    level = next((text for name in _JSON_LEVEL if (text := _text(fields.get(name)))), "")
    said = ": ".join(part for part in (told.strip(), "" if cause == told else cause.strip()) if part)
    return f"{level} {said}".strip()


def _text(value: object) -> str:
    if isinstance(value, Mapping):  # "err": {"type": "Error", "message": "connect ECONNREFUSED", "stack": ...}
        return next((text for name in ("message", "msg", "code", "type") if (text := _text(value.get(name)))), "")
    return plain(value) if isinstance(value, str) else ""
