# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Final answers in free text: where they stand, and when two of them are the same. Shared by the rewards of this package.

Everything is linear in the length of the text: a completion may be long and hostile.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_BOX = "\\boxed{"
_MARK = "####"
_TRAILING_TOKEN = re.compile(r"<[^<>\s]{1,64}>\s*\Z")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?")
_FRACTION = re.compile(r"([-+]?\d{1,30})\s*/\s*(\d{1,30})")
_LATEX_FRACTION = re.compile(r"(-?)\\[dt]?frac\{(-?\d{1,30})\}\{(\d{1,30})\}")
_DECORATION = re.compile(r"[$€£%]|\\[,!;$%]|(?<=\d),(?=\d{3}(?!\d))")
_MAX_NUMBER_CHARS = 80


def final_answer(text: str) -> str:
    """What the last `\\boxed{...}` holds (braces may nest), or what follows the last `####` on its line: the later of the two.

    Without either, the whole text. Special tokens at the end (`<|im_end|>`) and spaces around do not count.
    """
    text = strip_special_tokens(text)
    box, mark = text.rfind(_BOX), text.rfind(_MARK)
    if box > mark:
        inside = _balanced(text, box + len(_BOX))
        if inside is not None:
            return inside.strip()
    if mark >= 0:
        return text[mark + len(_MARK) :].strip().split("\n")[0].strip()
    return text


def strip_special_tokens(text: str) -> str:
    """The text without spaces around it and without tokens such as `<|im_end|>` at its end."""
    text = text.strip()
    while match := _TRAILING_TOKEN.search(text[-80:]):
        text = text[: len(text) - len(match.group(0))].rstrip()
    return text


def normalized(text: str) -> str:
    """The text in one case and width, with single spaces and without a final stop."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(".")


def parse_number(text: str) -> Fraction | None:
    """The number that a text is, exactly: `1,234`, `$3.50`, `50%` (as 50), `1/2`, `\\frac{1}{2}`, `-1e3`; None for anything else."""
    text = _DECORATION.sub("", unicodedata.normalize("NFKC", text).replace("−", "-").strip().rstrip(".")).strip()
    if not text or len(text) > _MAX_NUMBER_CHARS:
        return None
    if match := _LATEX_FRACTION.fullmatch(text):
        top, bottom = int(match[2]) * (-1 if match[1] else 1), int(match[3])
        return Fraction(top, bottom) if bottom else None
    if match := _FRACTION.fullmatch(text):
        return Fraction(int(match[1]), int(match[2])) if int(match[2]) else None
    return Fraction(text) if _NUMBER.fullmatch(text) else None


def _balanced(text: str, start: int) -> str | None:
    depth = 1
    for index in range(start, len(text)):
        depth += (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return text[start:index]
    return None
