# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight names of ERNIE 4.5."""

from __future__ import annotations

from collections.abc import Sequence

from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.experimental.models.archon.weights.rules import (
    Rule,
    ernie_rules,
)


class Ernie45StateDictAdapter(StateDictAdapter):
    """See `StateDictAdapter`."""

    def rules(self) -> Sequence[Rule]:
        """Llama's names, experts, and a selection bias in a module of its own."""
        return ernie_rules()
