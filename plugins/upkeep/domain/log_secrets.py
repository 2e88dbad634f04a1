"""Secrets and people out of text that nobody wrote for other eyes, such as lines of a log.

What is taken for a secret is a matter of form: a name such as ``password`` before a value, or a value that only a
credential looks like. A secret with neither can't be told from any other word; ``upkeep.domain.masking`` masks those
whose values are known.
"""

from __future__ import annotations

import re

_MASKED = "***"

# Patterns begin where a word begins, so that a line of one endless word is walked through once, not once a character.
_SECRET_NAMES = (
    "passwd", "password", "passphrase", "pwd", "secret", "token", "credential", "authorization", "signature",
    "apikey", "api_key", "api-key", "accesskey", "access_key", "access-key", "privatekey", "private_key",
    "private-key", "sessionid", "session_id", "session-id", "密码", "口令", "密钥", "令牌", "验证码",
)  # fmt: skip
_NAMED_VALUE = (
    rf"((?:{'|'.join(_SECRET_NAMES)})[\w-]{{0,20}}[\"'\\]{{0,3}}\s{{0,3}}(?:=>|[:=：])\s{{0,3}})"
    r"(?!(?:yes|no|null|none|true|false)\b)"  # "using password: YES" tells what went wrong
    r"(?:(?:bearer|basic|digest)\s+)?"
    r"(?:\\?\"[^\"]*\"?|'[^']*'?|[^\s,;&\"'})\]]+)"
)
_SECRETS: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = tuple(
    (words, re.compile(pattern, re.IGNORECASE | re.ASCII), masked)
    for words, pattern, masked in (
        (("private key-----",), r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*", _MASKED),
        (("cookie:",), r"\b((?:set-)?cookie: ?)[^\"]+", rf"\1{_MASKED}"),
        (_SECRET_NAMES, _NAMED_VALUE, rf"\1{_MASKED}"),
        (("-password ", "-token ", "-secret "), r"(--?(?:password|token|secret) )\S+", rf"\1{_MASKED}"),
        (("identified ",), r"\b(identified (?:with \S+ )?(?:by|as) )'[^']*'?", rf"\1{_MASKED}"),
        (("requirepass", "masterauth"), r"\b((?:requirepass|masterauth) )\S+", rf"\1{_MASKED}"),
        (("bearer ", "basic "), r"\b(bearer |basic )(?=[^\s\"']*[\d=_.])[\w.~+/=-]{8,}", rf"\1{_MASKED}"),
        (("://",), r"(?<![\w.+-])([a-z][a-z0-9+.-]{1,20}://)[^\s/\"'<>@]*:[^\s/\"'<>]*@", rf"\1{_MASKED}@"),
        (("@tcp(", "@unix("), r"(?<![\w.-])[\w.-]+:[^\s@\"']+@(?=(?:tcp|unix)\()", f"{_MASKED}@"),
        (("eyj",), r"\beyJ[\w-]{10,}(?:\.[\w-]*){0,2}", _MASKED),  # a JSON web token
        (("akia", "asia"), r"\b(?:AKIA|ASIA)[0-9A-Z]{12,}\b", _MASKED),  # Amazon
        (("ltai", "sts."), r"\b(?:LTAI|STS\.)[0-9A-Za-z]{8,}", _MASKED),  # Alibaba
        (
            ("gh", "glpat-", "xox", "sk-", "age-secret-key-"),
            r"\b(?:gh[pousr]_\w{16,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{8,}|sk-[\w-]{16,}|AGE-SECRET-KEY-\w+)",
            _MASKED,
        ),
    )
)
"""Words of which one must be in the line (in small letters), the pattern, and what takes its place."""
_OPAQUE = re.compile(r"(?<![\w+=-])(?=\w*[A-Z])(?=\w*[a-z])(?=(?:[A-Za-z_+]*\d){3})[\w+]{28,}={0,2}", re.ASCII)
"""A long word with capitals, small letters and digits: an access key without its name."""
MAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII)
_PHONE = re.compile(r"(?<!\d)1[3-9]\d{9}(?!\d)", re.ASCII)
_CITIZEN_ID = re.compile(r"(?<!\d)[1-9]\d{5}(?:19|20)\d\d[01]\d[0-3]\d{4}[\dXx](?![0-9A-Za-z])", re.ASCII)


def conceal(text: str) -> str:
    """Replace values that stand behind a secret's name, and those that have the form of a well-known credential."""
    lower = text.lower()
    for words, pattern, masked in _SECRETS:
        if any(word in lower for word in words):
            text = pattern.sub(masked, text)
    return text


def conceal_words(text: str) -> str:
    """Replace long words of capitals, small letters and digits: access keys without their names."""
    return _OPAQUE.sub(_MASKED, text)


def conceal_people(text: str) -> str:
    """Replace e-mail addresses, Chinese mobile numbers and Chinese citizen ids."""
    return _PHONE.sub("<phone>", _CITIZEN_ID.sub("<citizen id>", MAIL.sub("<mail>", text)))
