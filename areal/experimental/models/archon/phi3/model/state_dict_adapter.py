# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight names of Phi-3."""

from __future__ import annotations

from collections.abc import Sequence

from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.experimental.models.archon.weights.rules import (
    Rule,
    phi3_rules,
)


class Phi3StateDictAdapter(StateDictAdapter):
    """See `StateDictAdapter`."""

    def rules(self) -> Sequence[Rule]:
        """Fused query-key-value and gate-up projections."""
        return phi3_rules()
