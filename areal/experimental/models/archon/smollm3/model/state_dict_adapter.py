# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight names of SmolLM3."""

from __future__ import annotations

from collections.abc import Sequence

from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.experimental.models.archon.weights.rules import Rule, llama_rules


class Smollm3StateDictAdapter(StateDictAdapter):
    """See `StateDictAdapter`."""

    def rules(self) -> Sequence[Rule]:
        """The tensors of `SmolLM3ForCausalLM`."""
        return (*llama_rules(),)
