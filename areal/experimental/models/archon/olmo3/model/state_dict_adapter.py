# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight names of OLMo 3."""

from __future__ import annotations

from collections.abc import Sequence

from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.experimental.models.archon.weights.rules import (
    Rule,
    olmo2_rules,
)


class Olmo3StateDictAdapter(StateDictAdapter):
    """See `StateDictAdapter`."""

    def rules(self) -> Sequence[Rule]:
        """The names of OLMo 2."""
        return olmo2_rules()
