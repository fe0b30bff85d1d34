# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight names of Qwen3.5."""

from __future__ import annotations

from collections.abc import Sequence

from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.experimental.models.archon.weights.rules import (
    Rule,
    delta_net_rules,
    llama_rules,
    moe_rules,
)


class Qwen35StateDictAdapter(StateDictAdapter):
    """See `StateDictAdapter`."""

    ignored = ("mtp.", "model.visual.")
    """The multi-token prediction layers, and the vision tower of composite checkpoints."""

    def rules(self) -> Sequence[Rule]:
        """Llama's names, separate projections of the linear mixers, experts."""
        return (*llama_rules(), *delta_net_rules(), *moe_rules(shared="shared_expert"))
