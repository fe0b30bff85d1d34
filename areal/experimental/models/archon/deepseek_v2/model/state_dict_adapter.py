# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight names of DeepSeek-V2."""

from __future__ import annotations

from collections.abc import Sequence

from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.experimental.models.archon.weights.rules import (
    Rule,
    deepseek_moe_rules,
    llama_rules,
    mla_rules,
)


class DeepseekV2StateDictAdapter(StateDictAdapter):
    """See `StateDictAdapter`."""

    def rules(self) -> Sequence[Rule]:
        """Llama's names, latent attention, experts."""
        return (*llama_rules(), *mla_rules(), *deepseek_moe_rules())
