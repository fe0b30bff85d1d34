# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What the scaffolder can fail on: exceptions that carry the evidence, one for each outcome.

Raised wherever a measurement has no explanation in the option vocabulary. Caught where another reading is tried, where a
study writes down why a value failed, and at last by `command`, which reports it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Unexplained(Exception):
    """Something the HF model computes that no option reproduces.

    where: module path in the HF model. what: one sentence. errors: best relative error of each option that was tried.
    """

    where: str
    what: str
    errors: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        best = sorted(self.errors.items(), key=lambda item: item[1])[:3]
        tried = "; closest: " + ", ".join(f"{name} ({error:.1e})" for name, error in best) if best else ""
        return f"{self.where}: {self.what}{tried}"


@dataclass
class Refused(Exception):
    """A model that is not a causal decoder of our kind at all; `reason` is one sentence."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass
class Ambiguous(Exception):
    """Options that the logits of no seed and no config tell from what was found."""

    options: list[str]

    def __str__(self) -> str:
        return f"indistinguishable from what was found: {'; '.join(self.options)}"
