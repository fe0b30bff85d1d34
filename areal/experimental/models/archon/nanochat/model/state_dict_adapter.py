# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight names of NanoChat."""

from __future__ import annotations

from collections.abc import Sequence

from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.experimental.models.archon.weights.rules import Rule, attention_rules, base_rules, rename


class NanochatStateDictAdapter(StateDictAdapter):
    """See `StateDictAdapter`."""

    def rules(self) -> Sequence[Rule]:
        """The tensors of `NanoChatForCausalLM`."""
        return (
            rename("layers.{i}.feed_forward.w1.{p}", "model.layers.{i}.mlp.fc1.{p}"),
            rename("layers.{i}.feed_forward.w2.{p}", "model.layers.{i}.mlp.fc2.{p}"),
            *base_rules(),
            *attention_rules(),
        )
