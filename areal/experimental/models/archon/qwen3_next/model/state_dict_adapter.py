# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight names of Qwen3-Next."""

from __future__ import annotations

from collections.abc import Sequence

from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.experimental.models.archon.weights.rules import (
    Rule,
    fused_delta_net_rules,
    llama_rules,
    moe_rules,
)


class Qwen3NextStateDictAdapter(StateDictAdapter):
    """See `StateDictAdapter`."""

    ignored = ("mtp.",)
    """The multi-token prediction layers."""

    def rules(self) -> Sequence[Rule]:
        """Llama's names, projections of the linear mixers stored key head by key head, experts."""
        return (*llama_rules(), *fused_delta_net_rules(self.model_args), *moe_rules(shared="shared_expert"))
