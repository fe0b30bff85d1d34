# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight names of GLM-4."""

from __future__ import annotations

from collections.abc import Sequence

from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.experimental.models.archon.weights.rules import (
    Rule,
    glm_rules,
)


class GlmStateDictAdapter(StateDictAdapter):
    """See `StateDictAdapter`."""

    def rules(self) -> Sequence[Rule]:
        """A fused gate-up projection."""
        return glm_rules()
