# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight names of gpt-oss."""

from __future__ import annotations

from collections.abc import Sequence

from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.experimental.models.archon.weights.rules import (
    Rule,
    gpt_oss_rules,
    llama_rules,
)


class GptOssStateDictAdapter(StateDictAdapter):
    """See `StateDictAdapter`."""

    def rules(self) -> Sequence[Rule]:
        """Llama's names, fused experts stored input-major with alternating gate and up columns."""
        return (*llama_rules(), *gpt_oss_rules())
