# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Texts that match the regular expressions of a source, and texts as long as its limits: what its conditions look for."""

from __future__ import annotations

import random
import re
import string
import warnings
from collections.abc import Iterable
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

LETTERS = "a0 b1-X_.,/:;!?$%<>{}[]()|#\\\"'=+*&^~@`" + string.ascii_letters + string.digits
MAX_REPEATS = 3
MAX_LIMIT = 500


def matching(patterns: Iterable[str], each: int = 4) -> list[str]:
    """Some texts for every pattern that is a regular expression with special signs."""
    found = []
    for pattern in patterns:
        if not re.search(r"[\\\[(*+?]", pattern):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                parsed = parser.parse(pattern)
        except (re.error, OverflowError, RecursionError):
            continue
        rng = random.Random(pattern)
        found += ["".join(_some(parsed, rng, {})) for _ in range(each)]
    return found


def limit_texts(numbers: Iterable[int]) -> list[str]:
    """Texts of exactly as many characters as a limit of the source, and of one more."""
    limits = [number for number in numbers if 8 <= number <= MAX_LIMIT]
    return [sign * length for number in limits for sign in ("9", "a") for length in (number, number + 1)]


def _some(parsed: Any, rng: random.Random, groups: dict[int, str]) -> list[str]:
    out: list[str] = []
    for code, argument in parsed:
        if code is codes.LITERAL:
            out.append(chr(argument))
        elif code is codes.NOT_LITERAL:
            out.append(rng.choice([letter for letter in LETTERS if ord(letter) != argument]))
        elif code is codes.ANY:
            out.append(rng.choice(LETTERS))
        elif code is codes.IN:
            out.append(_member(argument, rng))
        elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            least, most, inner = argument
            times = rng.randint(least, min(most, least + MAX_REPEATS))
            out += [part for _ in range(times) for part in _some(inner, rng, groups)]
        elif code is codes.SUBPATTERN:
            text = "".join(_some(argument[3], rng, groups))
            groups[argument[0]] = text
            out.append(text)
        elif code is codes.BRANCH:
            out += _some(rng.choice(argument[1]), rng, groups)
        elif code is codes.GROUPREF:
            out.append(groups.get(argument, ""))
        elif code is codes.ASSERT and argument[0] == 1:
            out += _some(argument[1], rng, groups)
    return out


def _member(items: Any, rng: random.Random) -> str:
    allowed = [letter for letter in LETTERS if any(_is_in(letter, item) for item in items)]
    negated = any(code is codes.NEGATE for code, _ in items)
    if negated:
        allowed = [letter for letter in LETTERS if letter not in allowed]
    wide = [chr(argument) for code, argument in items if code is codes.LITERAL and not negated]
    return rng.choice(allowed + wide or ["a"])


def _is_in(letter: str, item: tuple[Any, Any]) -> bool:
    code, argument = item
    if code is codes.LITERAL:
        return ord(letter) == argument
    if code is codes.RANGE:
        return argument[0] <= ord(letter) <= argument[1]
    if code is not codes.CATEGORY:
        return False
    kind = {codes.CATEGORY_DIGIT: r"\d", codes.CATEGORY_SPACE: r"\s", codes.CATEGORY_WORD: r"\w"}
    kind |= {codes.CATEGORY_NOT_DIGIT: r"\D", codes.CATEGORY_NOT_SPACE: r"\S", codes.CATEGORY_NOT_WORD: r"\W"}
    return re.fullmatch(kind[argument], letter) is not None
