# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import DeepseekV2Config, DeepseekV3Config
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Attention, DeepseekV2RotaryEmbedding
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention, DeepseekV3RotaryEmbedding

from areal.experimental.models.archon.contexts.packed import PackedContext
from areal.experimental.models.archon.contexts.protocol import TokenInfo
from areal.experimental.models.archon.kernels.attention import Packing
from areal.experimental.models.archon.model_args import MLAArgs, NormArgs, RopeArgs, ScoreArgs
from areal.experimental.models.archon.modules.mla import MLAttention
from areal.experimental.models.archon.modules.rope import Rope
from areal.models.packed_attention.layout import PackedLayout

HIDDEN, HEADS, KV_RANK, NOPE, ROPE, VALUE = 32, 4, 12, 6, 8, 10
LENGTHS = [9, 1, 24]
NAMES = {
    "q_proj": "wq",
    "q_a_proj": "wq_a",
    "q_a_layernorm": "q_a_norm",
    "q_b_proj": "wq_b",
    "kv_a_proj_with_mqa": "wkv_a",
    "kv_a_layernorm": "kv_a_norm",
    "kv_b_proj": "wkv_b",
    "o_proj": "wo",
}
YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "mscale": 0.7,
    "mscale_all_dim": 1.3,
    "original_max_position_embeddings": 16,
    "rope_theta": 1e4,
}
CASES: dict[str, dict[str, Any]] = {
    "v3": {"q_lora_rank": 14},
    "v3-direct-queries": {"q_lora_rank": None},
    "v3-biases": {"q_lora_rank": 14, "attention_bias": True},
    "v3-half-rope": {"q_lora_rank": 14, "rope_interleave": False},
    "v3-yarn": {"q_lora_rank": 14, "rope_parameters": YARN, "max_position_embeddings": 64},
    "v2": {"q_lora_rank": 14},
    "v2-direct-queries": {"q_lora_rank": None},
}


def _hf(case: str) -> tuple[nn.Module, nn.Module]:
    """HF's attention with perturbed parameters, and its rotary embedding."""
    torch.manual_seed(0)
    sizes = {
        "hidden_size": HIDDEN,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "kv_lora_rank": KV_RANK,
        "qk_nope_head_dim": NOPE,
        "qk_rope_head_dim": ROPE,
        "head_dim": ROPE,
        "v_head_dim": VALUE,
        "attn_implementation": "eager",
        **CASES[case],
    }
    if case.startswith("v3"):
        config = DeepseekV3Config(**sizes)
        attention, rotary = DeepseekV3Attention(config, 0), DeepseekV3RotaryEmbedding(config)
    else:
        config = DeepseekV2Config(**sizes)
        attention, rotary = DeepseekV2Attention(config, 0), DeepseekV2RotaryEmbedding(config)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return attention.eval(), rotary


def _run_hf(attention: nn.Module, rotary: nn.Module, x_NE: Tensor) -> Tensor:
    """One sequence."""
    x, positions = x_NE[None], torch.arange(len(x_NE))[None]
    hidden = torch.full((len(x_NE), len(x_NE)), float("-inf")).triu(1)[None, None]
    return attention(x, position_embeddings=rotary(x, positions), attention_mask=hidden, position_ids=positions)[0][0]


def _ours(case: str, attention: nn.Module) -> tuple[MLAttention, RopeArgs]:
    options = CASES[case]
    args = MLAArgs(
        num_heads=HEADS,
        q_rank=options["q_lora_rank"],
        kv_rank=KV_RANK,
        nope_head_dim=NOPE,
        rope_head_dim=ROPE,
        value_head_dim=VALUE,
        score=ScoreArgs(scale=attention.scaling),
        norm=NormArgs(eps=1e-6),
        bias=options.get("attention_bias", False),
        out_bias=options.get("attention_bias", False),
    )
    style = "interleaved" if options.get("rope_interleave", True) else "half"
    rope = RopeArgs(theta=1e4, rotary_dim=ROPE, style=style)
    if "rope_parameters" in options:
        numbers = {"factor": 4.0, "mscale": 0.7, "mscale_all_dim": 1.3, "original_max_positions": 16}
        rope = RopeArgs(theta=1e4, rotary_dim=ROPE, style=style, kind="yarn", **numbers)
    ours = MLAttention(args, HIDDEN, 0, style)
    state = {f"{NAMES[name.split('.')[0]]}.{name.split('.')[1]}": x for name, x in attention.state_dict().items()}
    ours.load_state_dict(state)
    return ours, rope


def _info(rope: RopeArgs, lengths: list[int]) -> TokenInfo:
    layout = PackedLayout.from_lengths(lengths)
    context = PackedContext(Packing(layout.cu_seqlens, layout.max_seqlen, layout))
    tables = Rope(rope)(layout.position_ids(), torch.float32, context.sequence_lengths)
    return TokenInfo(layout.position_ids(), {"default": tables}, context)


@pytest.mark.parametrize("case", CASES)
def test_mla_packed_matches_hf_module_and_its_gradients(case: str) -> None:
    theirs, rotary = _hf(case)
    ours, rope = _ours(case, theirs)
    x = torch.randn(sum(LENGTHS), HIDDEN, requires_grad=True)
    got = ours(x, _info(rope, LENGTHS))
    expected = torch.cat([_run_hf(theirs, rotary, part) for part in x.split(LENGTHS)])
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    grad = torch.randn_like(got)
    their_names = [NAMES[name.split(".")[0]] + "." + name.split(".")[1] for name, _ in theirs.named_parameters()]
    expected_x, *their_grads = torch.autograd.grad(expected, [x, *theirs.parameters()], grad)
    got_x, *our_grads = torch.autograd.grad(got, [x, *ours.parameters()], grad)
    torch.testing.assert_close(got_x, expected_x, rtol=1e-3, atol=1e-4)
    by_name = dict(zip(their_names, their_grads, strict=True))
    for (name, _), mine in zip(ours.named_parameters(), our_grads, strict=True):
        torch.testing.assert_close(mine, by_name[name], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("case", ["v3", "v3-direct-queries", "v3-biases"])
def test_mla_fused_projections_give_the_same_output(case: str) -> None:
    ours, rope = _ours(case, _hf(case)[0])
    x, info = torch.randn(7, HIDDEN), _info(rope, [7])
    with torch.no_grad():
        before = ours(x, info)
        ours.fuse()
        torch.testing.assert_close(ours(x, info), before)


@pytest.mark.parametrize("case", ["v3", "v3-direct-queries"])
def test_mla_every_child_has_a_role(case: str) -> None:
    ours, _ = _ours(case, _hf(case)[0])
    assert {name.split(".")[0] for name, _ in ours.named_parameters()} <= set(ours.roles())
