# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny random MoE blocks of HF families, the `MoEArgs` that describe them, and their tensors under our names."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from areal.experimental.models.archon.model_args import (
    ExpertArgs,
    FeedForwardArgs,
    MoEArgs,
    RouterArgs,
    SharedExpertArgs,
)

HIDDEN, INNER, EXPERTS, TOP_K = 16, 12, 8, 2
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Family:
    """An HF block and how it maps to ours."""

    module: str
    block: str
    config: str
    router: RouterArgs
    options: dict[str, Any] = field(default_factory=dict)
    experts: ExpertArgs = field(default_factory=lambda: ExpertArgs(intermediate_size=INNER))
    shared: SharedExpertArgs | None = None
    weight_on_input: bool = False
    output_scale: float = 1.0
    gate: str = "gate"
    bias: str | None = None
    shared_name: str = "shared_experts"
    split: str = "halves"
    top_k: int = TOP_K

    @property
    def args(self) -> MoEArgs:
        return MoEArgs(
            num_experts=EXPERTS,
            top_k=self.top_k,
            router=self.router,
            experts=self.experts,
            shared=self.shared,
            weight_on_input=self.weight_on_input,
            output_scale=self.output_scale,
        )

    def build(self) -> nn.Module:
        """The HF block in eval mode (dropout and sampling off), every tensor random."""
        modeling = importlib.import_module(f"transformers.models.{self.module}.modeling_{self.module}")
        config = modeling.__dict__[self.config](
            hidden_size=HIDDEN, num_attention_heads=2, **{"num_experts_per_tok": self.top_k, **self.options}
        )
        config._experts_implementation = "eager"
        block = modeling.__dict__[self.block](config).eval()
        torch.manual_seed(0)
        with torch.no_grad():
            for tensor in (*block.parameters(), *block.buffers()):
                tensor.normal_(std=0.3)
        return block

    def ours(self, hf: Tensors) -> Tensors:
        """HF tensors (weights or gradients) under the names of `MoE`."""
        return {**self._router(hf), **self._experts(hf), **self._shared(hf)}

    def _router(self, hf: Tensors) -> Tensors:
        found = {"router.gate.weight": hf[f"{self.gate}.weight"]}
        if self.router.bias:
            found["router.gate.bias"] = hf[f"{self.gate}.bias"]
        if self.bias is not None and self.bias in hf:
            found["router.expert_bias"] = hf[self.bias].flatten()
        return found

    def _experts(self, hf: Tensors) -> Tensors:
        gate_up, down = hf["experts.gate_up_proj"], hf["experts.down_proj"]
        if self.split == "halves":
            gate, up = gate_up.chunk(2, dim=1)
            return {"experts.w1": gate, "experts.w3": up, "experts.w2": down}
        gate_up, down = gate_up.transpose(1, 2), down.transpose(1, 2)
        if self.split == "input-major":
            gate, up = gate_up.chunk(2, dim=1)
            return {"experts.w1": gate, "experts.w3": up, "experts.w2": down}
        bias = hf["experts.gate_up_proj_bias"]
        return {
            "experts.w1": gate_up[:, ::2],
            "experts.w3": gate_up[:, 1::2],
            "experts.w2": down,
            "experts.b1": bias[:, ::2],
            "experts.b3": bias[:, 1::2],
            "experts.b2": hf["experts.down_proj_bias"],
        }

    def _shared(self, hf: Tensors) -> Tensors:
        found = {}
        for ours, theirs in (("w1", "gate_proj"), ("w3", "up_proj"), ("w2", "down_proj")):
            for kind in ("weight", "bias"):
                if (name := f"{self.shared_name}.{theirs}.{kind}") in hf:
                    found[f"shared_experts.{ours}.{kind}"] = hf[name]
        if "shared_expert_gate.weight" in hf:
            found["shared_expert_gate.weight"] = hf["shared_expert_gate.weight"]
        return found


def _shared(width: int, bias: bool = False, gate: bool = False) -> SharedExpertArgs:
    return SharedExpertArgs(
        feed_forward=FeedForwardArgs(intermediate_size=width, in_bias=bias, out_bias=bias), gate=gate
    )


_GROUPED = {
    "n_routed_experts": EXPERTS,
    "n_group": 4,
    "topk_group": 2,
    "moe_intermediate_size": INNER,
    "n_shared_experts": 2,
}
_BIASED_SIGMOID = RouterArgs(
    score="sigmoid",
    selection_bias=True,
    num_groups=4,
    num_limited_groups=2,
    normalize=True,
    normalize_eps=1e-20,
    scale=2.5,
)

FAMILIES: dict[str, Family] = {
    "qwen2_moe": Family(
        "qwen2_moe",
        "Qwen2MoeSparseMoeBlock",
        "Qwen2MoeConfig",
        RouterArgs(),
        {"num_experts": EXPERTS, "moe_intermediate_size": INNER, "shared_expert_intermediate_size": 20},
        shared=_shared(20, gate=True),
        shared_name="shared_expert",
    ),
    "qwen3_moe": Family(
        "qwen3_moe",
        "Qwen3MoeSparseMoeBlock",
        "Qwen3MoeConfig",
        RouterArgs(normalize=True),
        {"num_experts": EXPERTS, "moe_intermediate_size": INNER, "norm_topk_prob": True},
        top_k=3,
    ),
    "mixtral": Family(
        "mixtral",
        "MixtralSparseMoeBlock",
        "MixtralConfig",
        RouterArgs(normalize=True),
        {"num_local_experts": EXPERTS, "intermediate_size": INNER},
    ),
    "deepseek_v2 in groups": Family(
        "deepseek_v2",
        "DeepseekV2Moe",
        "DeepseekV2Config",
        RouterArgs(num_groups=4, num_limited_groups=2, group_reduce="max", masked_score="zero", scale=1.7),
        {**_GROUPED, "topk_method": "group_limited_greedy", "routed_scaling_factor": 1.7},
        shared=_shared(2 * INNER),
        top_k=3,
    ),
    "deepseek_v2 greedy": Family(
        "deepseek_v2",
        "DeepseekV2Moe",
        "DeepseekV2Config",
        RouterArgs(),
        {**_GROUPED, "topk_method": "greedy", "routed_scaling_factor": 1.0},
        shared=_shared(2 * INNER),
    ),
    "deepseek_v3": Family(
        "deepseek_v3",
        "DeepseekV3MoE",
        "DeepseekV3Config",
        _BIASED_SIGMOID,
        {**_GROUPED, "routed_scaling_factor": 2.5, "norm_topk_prob": True},
        shared=_shared(2 * INNER),
        bias="gate.e_score_correction_bias",
        top_k=3,
    ),
    "glm4_moe": Family(
        "glm4_moe",
        "Glm4MoeMoE",
        "Glm4MoeConfig",
        _BIASED_SIGMOID,
        {**_GROUPED, "routed_scaling_factor": 2.5, "norm_topk_prob": True},
        shared=_shared(2 * INNER),
        bias="gate.e_score_correction_bias",
    ),
    "gpt_oss": Family(
        "gpt_oss",
        "GptOssMLP",
        "GptOssConfig",
        RouterArgs(score="softmax_topk", bias=True),
        {"num_local_experts": EXPERTS, "intermediate_size": INNER, "swiglu_limit": 0.5},
        experts=ExpertArgs(intermediate_size=INNER, activation="clamped_swiglu", bias=True, clamp=0.5),
        gate="router",
        split="interleaved",
    ),
    "llama4": Family(
        "llama4",
        "Llama4TextMoe",
        "Llama4TextConfig",
        RouterArgs(score="sigmoid_topk"),
        {"num_local_experts": EXPERTS, "intermediate_size": INNER},
        shared=_shared(INNER),
        weight_on_input=True,
        gate="router",
        shared_name="shared_expert",
        split="input-major",
    ),
    "ernie4_5_moe": Family(
        "ernie4_5_moe",
        "Ernie4_5_MoeSparseMoeBlock",
        "Ernie4_5_MoeConfig",
        RouterArgs(selection_bias=True, normalize=True, normalize_eps=0.4, normalize_by="clamp"),
        {
            "moe_num_experts": EXPERTS,
            "moe_k": TOP_K,
            "moe_intermediate_size": INNER,
            "moe_num_shared_experts": 2,
            "moe_norm_min": 0.4,
            "use_bias": True,
        },
        shared=_shared(2 * INNER, bias=True),
        bias="gate.moe_statics.e_score_correction_bias",
    ),
    "phimoe": Family(
        "phimoe",
        "PhimoeSparseMoeBlock",
        "PhimoeConfig",
        RouterArgs(score="sparsemixer", jitter_eps=0.3),
        {"num_local_experts": EXPERTS, "intermediate_size": INNER, "router_jitter_noise": 0.3},
        gate="router",
    ),
    "granitemoe": Family(
        "granitemoe",
        "GraniteMoeMoE",
        "GraniteMoeConfig",
        RouterArgs(score="softmax_topk"),
        {"num_local_experts": EXPERTS, "intermediate_size": INNER},
        gate="router",
    ),
    "cohere2_moe": Family(
        "cohere2_moe",
        "Cohere2MoeSparseMoeBlock",
        "Cohere2MoeConfig",
        RouterArgs(score="sigmoid_topk", normalize=True),
        {
            "num_experts": EXPERTS,
            "intermediate_size": INNER,
            "num_shared_experts": 1,
            "norm_topk_prob": True,
            "expert_selection_fn": "sigmoid",
            "shared_expert_combination_strategy": "average",
        },
        shared=_shared(INNER),
        output_scale=0.5,
    ),
    "laguna": Family(
        "laguna",
        "LagunaSparseMoeBlock",
        "LagunaConfig",
        RouterArgs(score="sigmoid", selection_bias=True, normalize=True, softcap=0.5, scale=2.5),
        {
            "num_experts": EXPERTS,
            "moe_intermediate_size": INNER,
            "shared_expert_intermediate_size": 20,
            "moe_router_logit_softcapping": 0.5,
            "moe_routed_scaling_factor": 2.5,
        },
        shared=_shared(20),
        bias="gate.e_score_correction_bias",
    ),
}


def output_of(result: Tensor | tuple[Any, ...]) -> Tensor:
    """The hidden states of an HF block, some of which also return router scores."""
    return result[0] if isinstance(result, tuple) else result
