"""Made-up text that compresses like the real thing: gzip takes it to about 1/2.6, zstd -3 to less than 1/3."""

from __future__ import annotations

import random

_LETTERS = "etaoinshrdlucmfwypvbgk"
_VOCABULARY = 1_800
"""The fewer there are the better the text compresses: gzip reaches 2.7 with 2,000 words and 2.1 with 5,000."""

FAMILY_NAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧"
GIVEN_NAMES = "伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂子涵欣怡宇轩诗梦琪浩然思雨一诺"


def sentences(chance: random.Random, count: int) -> list[str]:
    """Distinct sentences of nine words, about 60 bytes each, to build longer text from."""
    words = ["".join(chance.choices(_LETTERS, k=chance.randint(3, 10))) for _ in range(_VOCABULARY)]
    drawn = chance.choices(words, k=count * 9)
    return [" ".join(drawn[start : start + 9]).capitalize() + ". " for start in range(0, count * 9, 9)]


def chinese_name(chance: random.Random) -> str:
    return chance.choice(FAMILY_NAMES) + "".join(chance.choices(GIVEN_NAMES, k=chance.randint(1, 2)))


def identity(chance: random.Random) -> str:
    """32 hexadecimal digits, the manual's kind of primary key."""
    return f"{chance.getrandbits(128):032x}"
