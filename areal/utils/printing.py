# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers for people: tables of statistics and short forms with few digits. Returns strings, never prints."""

from __future__ import annotations

import math
from collections.abc import Mapping

_SI_STEPS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def tabulate_stats(data: Mapping[str, float], col: int = 4, floatfmt: str = ".4e") -> str:
    """`data` as a text table of `col` key/value pairs a row, in the order given; integers keep all their digits."""
    if col < 1:
        raise ValueError(f"col is the number of key/value pairs a row, >= 1, got {col}")
    cells = [(key, _cell(value, floatfmt)) for key, value in data.items()]
    rows = [cells[i : i + col] for i in range(0, len(cells), col)]
    widths = [
        (max(len(row[c][0]) for row in rows if c < len(row)), max(len(row[c][1]) for row in rows if c < len(row)))
        for c in range(min(col, len(cells)))
    ]
    lines = [
        " | ".join(
            f"{key:<{key_width}} {value:>{value_width}}" for (key, value), (key_width, value_width) in zip(row, widths)
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def short_number(value: float, digits: int = 3) -> str:
    """`value` in at most `digits` significant digits: 0.0004 -> "4e-4", 21034 -> "21k", 0.915 -> "0.915"."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    magnitude = abs(value)
    if magnitude < 1e-2:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        return f"{_strip_zeros(mantissa)}e{int(exponent)}"
    # 999.6 rounds to four digits: compare what would be printed, so that 1000 becomes 1k.
    rounded = float(f"{value:.{digits}g}")
    for step, suffix in _SI_STEPS:
        if abs(rounded) >= step:
            return f"{_strip_zeros(f'{rounded / step:.{_decimals(rounded / step, digits)}f}')}{suffix}"
    return _strip_zeros(f"{rounded:.{_decimals(rounded, digits)}f}")


def short_duration(seconds: float) -> str:
    """`seconds` for people: "8.4s", "3m12s", "2h05m"."""
    if seconds < 59.95:  # what would print as 60.0s is 1m00s
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m"


def _cell(value: float, floatfmt: str) -> str:
    return str(value) if isinstance(value, int) else format(value, floatfmt)


def _decimals(value: float, digits: int) -> int:
    return max(digits - 1 - math.floor(math.log10(abs(value))), 0)


def _strip_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
