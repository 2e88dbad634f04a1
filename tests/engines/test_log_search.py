"""Error lines are found fast, and exactly those that the patterns match."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upkeep.engines import log_search
from upkeep.engines.log_search import LINE_BYTES, ErrorSearch, decode
from upkeep.errors import SiteFileError


def found(block: bytes | str, *patterns: str) -> list[str]:
    return list(
        ErrorSearch(patterns or [r"\b(ERROR|FATAL)\b"]).lines(block.encode() if isinstance(block, str) else block)
    )


def test_whole_lines_come_out_once_and_in_order() -> None:
    assert found("one\nERROR two FATAL\nthree FATAL\nERRORS\n\nERROR\nlast ERROR") == [
        "ERROR two FATAL", "three FATAL", "ERROR", "last ERROR",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "encoding"),
    [("ERROR 数据库连接失败", "utf-8"), ("ERROR 数据库连接失败", "gbk"), ("ERROR déjà vu", "latin-1")],
)
def test_a_line_is_decoded_whatever_its_encoding(line: str, encoding: str) -> None:
    assert found(line.encode(encoding) + b"\r\n") == [line]


def test_chinese_patterns_match_in_utf_8_and_gbk() -> None:
    block = "系统错误：连接\n正常\n".encode() + "系统错误：连接\n".encode("gbk")
    assert found(block, "错误|异常") == ["系统错误：连接"] * 2


def test_the_error_begins_a_word_behind_chinese_and_behind_a_colour() -> None:
    assert found("系统ERROR发生\n\x1b[31mERROR\x1b[0m: red\n") == ["系统ERROR发生", "ERROR: red"]


def test_case_counts_unless_the_pattern_says_otherwise() -> None:
    block = "Error one\nerror two\nERROR three\n"
    assert found(block, "error") == ["error two"]
    assert found(block, "(?i)error", "nothing") == ["Error one", "error two", "ERROR three"]
    assert found(block, "(?i)one", "error") == ["Error one", "error two"], "the other pattern keeps its case"


def test_nul_bytes_inside_a_line_do_no_harm() -> None:
    assert found(b"\0\0\0ERROR a\0b\n") == ["ERROR ab"]


def test_utf_8_cut_at_a_byte_stays_utf_8() -> None:
    assert decode("ERROR 数据库".encode()[:-1]) == "ERROR 数据\ufffd"


def test_a_very_long_line_is_seen_up_to_a_bound() -> None:
    block = b"ERROR " + b"x" * 3 * LINE_BYTES + b"\n" + b"x" * 3 * LINE_BYTES + b" ERROR\n"
    (line,) = found(block)
    assert len(line) == LINE_BYTES


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"\b(ERROR|FATAL|CRITICAL|PANIC)\b", {"ERROR", "FATAL", "CRITICAL", "PANIC"}),
        (r'" 5\d\d ', {'" 5'}),
        (r"\[(error|crit|alert|emerg)\]", {"error", "crit", "alert", "emerg"}),
        (r"level=(error|fatal)", {"level="}),
        (r"(maybe)?certain", {"certain"}),
        (r"(?:abc)+", {"abc"}),
        ("错误|异常", {"错误", "异常"}),
        (r"\d+", set()),
        (r"ERROR|\d", set()),
        (r"(?!ERROR)abc", {"abc"}),
        (r"(?i:error)", set()),
        (r"[Ee]rror", {"rror"}),
        (r"ab", set()),
    ],
)
def test_words_that_every_match_holds(pattern: str, words: set[str]) -> None:
    assert log_search._needles(re.compile(pattern, re.ASCII)) == words


WORDS = ["ERROR", "error", "Err", "FATAL", " ", "\n", "x", "5", "错误", '"', "[", "]", "\r\n", "\x1b[1m"]


@given(
    st.lists(st.sampled_from(WORDS), max_size=30).map("".join),
    st.lists(
        st.sampled_from(
            [r"\bERROR\b", "(?i)error", "错误", r"^x", r"\d", '" 5', r"\[(error|FATAL)\]", "(x|y)?ERROR", "Err(or)?$"]
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_the_short_cut_finds_what_matching_every_line_finds(text: str, patterns: list[str]) -> None:
    compiled = [re.compile(pattern, re.ASCII) for pattern in patterns]
    wanted = [
        line for raw in text.encode().split(b"\n") if any(pattern.search(line := decode(raw)) for pattern in compiled)
    ]
    assert found(text, *patterns) == [line for line in wanted if line or text]


def test_a_pattern_that_is_no_regular_expression_is_named() -> None:
    with pytest.raises(SiteFileError, match=r"'\(ERROR' is not a regular expression"):
        ErrorSearch(["(ERROR"])
