# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight names of Qwen2Moe."""

from __future__ import annotations

from collections.abc import Sequence

from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.experimental.models.archon.weights.ops import Split, Stack
from areal.experimental.models.archon.weights.rules import Rule, llama_rules, rename, split


class Qwen2MoeStateDictAdapter(StateDictAdapter):
    """See `StateDictAdapter`."""

    def rules(self) -> Sequence[Rule]:
        """The tensors of `Qwen2MoeForCausalLM`."""
        return (
            rename("layers.{i}.moe.router.gate.{p}", "model.layers.{i}.mlp.gate.{p}"),
            rename("layers.{i}.moe.shared_experts.w1.{p}", "model.layers.{i}.mlp.shared_expert.gate_proj.{p}"),
            rename("layers.{i}.moe.shared_experts.w3.{p}", "model.layers.{i}.mlp.shared_expert.up_proj.{p}"),
            rename("layers.{i}.moe.shared_experts.w2.{p}", "model.layers.{i}.mlp.shared_expert.down_proj.{p}"),
            rename("layers.{i}.moe.shared_expert_gate.{p}", "model.layers.{i}.mlp.shared_expert_gate.{p}"),
            rename("layers.{i}.moe.experts.w1", "model.layers.{i}.mlp.experts.{e}.gate_proj.weight", Stack()),
            rename("layers.{i}.moe.experts.w3", "model.layers.{i}.mlp.experts.{e}.up_proj.weight", Stack()),
            rename("layers.{i}.moe.experts.w2", "model.layers.{i}.mlp.experts.{e}.down_proj.weight", Stack()),
            rename("layers.{i}.moe.experts.w2", "model.layers.{i}.mlp.experts.down_proj"),
            split(
                ("layers.{i}.moe.experts.w1", "layers.{i}.moe.experts.w3"),
                "model.layers.{i}.mlp.experts.gate_up_proj",
                Split(dim=1),
            ),
            *llama_rules(),
        )
