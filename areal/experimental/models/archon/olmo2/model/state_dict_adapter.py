# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight names of OLMo 2."""

from __future__ import annotations

from collections.abc import Sequence

from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.experimental.models.archon.weights.rules import (
    Rule,
    olmo2_rules,
)


class Olmo2StateDictAdapter(StateDictAdapter):
    """See `StateDictAdapter`."""

    def rules(self) -> Sequence[Rule]:
        """Norms behind the mixer and the feed-forward."""
        return olmo2_rules()
