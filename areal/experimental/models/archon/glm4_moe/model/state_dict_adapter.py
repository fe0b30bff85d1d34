# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight names of GLM-4.5."""

from __future__ import annotations

from collections.abc import Sequence

from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.experimental.models.archon.weights.rules import (
    Rule,
    deepseek_moe_rules,
    llama_rules,
)


class Glm4MoeStateDictAdapter(StateDictAdapter):
    """See `StateDictAdapter`."""

    ignored = ("model.layers.{num_layers}.",)
    """The multi-token prediction layer, stored behind the last one."""

    def rules(self) -> Sequence[Rule]:
        """Llama's names, experts with a selection bias."""
        return (*llama_rules(), *deepseek_moe_rules())
