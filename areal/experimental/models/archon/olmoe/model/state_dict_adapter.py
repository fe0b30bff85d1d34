# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight names of Olmoe."""

from __future__ import annotations

from collections.abc import Sequence

from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.experimental.models.archon.weights.rules import Rule, llama_rules, moe_rules


class OlmoeStateDictAdapter(StateDictAdapter):
    """See `StateDictAdapter`."""

    def rules(self) -> Sequence[Rule]:
        """The tensors of `OlmoeForCausalLM`."""
        return (
            *llama_rules(),
            *moe_rules(),
        )
