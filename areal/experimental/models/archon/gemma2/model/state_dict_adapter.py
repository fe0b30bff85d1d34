# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight names of Gemma 2."""

from __future__ import annotations

from collections.abc import Sequence

from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.experimental.models.archon.weights.rules import (
    Rule,
    gemma2_rules,
)


class Gemma2StateDictAdapter(StateDictAdapter):
    """See `StateDictAdapter`."""

    def rules(self) -> Sequence[Rule]:
        """Four norms a block."""
        return gemma2_rules()
