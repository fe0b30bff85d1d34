# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight names of Starcoder2."""

from __future__ import annotations

from collections.abc import Sequence

from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.experimental.models.archon.weights.rules import Rule, attention_rules, base_rules, pre_norm_rules, rename


class Starcoder2StateDictAdapter(StateDictAdapter):
    """See `StateDictAdapter`."""

    def rules(self) -> Sequence[Rule]:
        """The tensors of `Starcoder2ForCausalLM`."""
        return (
            rename("layers.{i}.feed_forward.w1.{p}", "model.layers.{i}.mlp.c_fc.{p}"),
            rename("layers.{i}.feed_forward.w2.{p}", "model.layers.{i}.mlp.c_proj.{p}"),
            *base_rules(),
            *pre_norm_rules(),
            *attention_rules(),
        )
