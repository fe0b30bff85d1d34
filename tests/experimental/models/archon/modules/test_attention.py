# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AfmoeConfig, CohereConfig, GptOssConfig, Olmo2Config, OlmoConfig, Qwen3Config, Qwen3NextConfig
from transformers.models.afmoe.modeling_afmoe import AfmoeAttention
from transformers.models.cohere.modeling_cohere import CohereAttention, CohereRotaryEmbedding
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssAttention, GptOssRotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.olmo.modeling_olmo import OlmoAttention
from transformers.models.olmo2.modeling_olmo2 import Olmo2Attention
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextAttention, Qwen3NextRotaryEmbedding

from areal.experimental.models.archon.contexts.packed import PackedContext
from areal.experimental.models.archon.contexts.protocol import TokenInfo
from areal.experimental.models.archon.kernels.attention import Packing
from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    NormArgs,
    QKNormArgs,
    QueryTemperatureArgs,
    RopeArgs,
    ScoreArgs,
)
from areal.experimental.models.archon.modules.attention import Attention
from areal.experimental.models.archon.modules.rope import Rope
from areal.models.packed_attention.layout import PackedLayout

HIDDEN, HEADS, KV_HEADS, DIM = 32, 4, 2, 8
LENGTHS = [9, 1, 24]
NAMES = {"q_proj": "wq", "k_proj": "wk", "v_proj": "wv", "o_proj": "wo", "gate_proj": "wg"}
BASE = AttentionArgs(
    num_heads=HEADS, num_kv_heads=KV_HEADS, head_dim=DIM, value_head_dim=DIM, score=ScoreArgs(scale=DIM**-0.5)
)
NORM = NormArgs(eps=1e-3)
ROPE = RopeArgs(theta=1e4, rotary_dim=DIM)


@dataclass(frozen=True)
class Case:
    """An attention module of HF, the options that must reproduce it, and its rotary table."""

    config: type
    attention: type[nn.Module]
    ours: AttentionArgs
    rotary: type[nn.Module] = LlamaRotaryEmbedding
    rope: RopeArgs = ROPE
    options: dict[str, Any] = field(default_factory=dict)


CASES = {
    "qwen3": Case(Qwen3Config, Qwen3Attention, replace(BASE, qk_norm=QKNormArgs(norm=NORM))),
    "olmo2": Case(
        Olmo2Config,
        Olmo2Attention,
        replace(BASE, qk_norm=QKNormArgs(norm=replace(NORM, weight_in_fp32=True), kind="flat")),
    ),
    "olmo": Case(OlmoConfig, OlmoAttention, replace(BASE, clip_qkv=0.5), options={"clip_qkv": 0.5}),
    "cohere": Case(
        CohereConfig,
        CohereAttention,
        replace(BASE, qk_norm=QKNormArgs(norm=NormArgs(kind="layer", eps=1e-3), kind="per_head")),
        CohereRotaryEmbedding,
        RopeArgs(theta=1e4, rotary_dim=DIM, style="interleaved"),
        {"use_qk_norm": True, "layer_norm_eps": 1e-3},
    ),
    "qwen3_next": Case(
        Qwen3NextConfig,
        Qwen3NextAttention,
        replace(BASE, gate="query", qk_norm=QKNormArgs(norm=replace(NORM, offset=1.0, weight_in_fp32=True))),
        Qwen3NextRotaryEmbedding,
        RopeArgs(theta=1e4, rotary_dim=DIM // 2),
        {"partial_rotary_factor": 0.5},
    ),
    "gpt_oss": Case(
        GptOssConfig,
        GptOssAttention,
        replace(BASE, qkv_bias=True, out_bias=True, score=ScoreArgs(scale=DIM**-0.5, sinks=True)),
        GptOssRotaryEmbedding,
        options={"layer_types": ["full_attention"], "attention_bias": True},
    ),
    "afmoe": Case(
        AfmoeConfig,
        AfmoeAttention,
        replace(BASE, gate="channel", qk_norm=QKNormArgs(norm=NORM)),
        options={"layer_types": ["sliding_attention"], "sliding_window": 64},
    ),
}


def _hf(case: Case) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    config = case.config(
        hidden_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=DIM,
        attn_implementation="eager",
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, **_partial(case)},
        **{"rms_norm_eps": 1e-3, **case.options},
    )
    config.head_dim = DIM
    attention = case.attention(config, layer_idx=0)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return attention.eval(), case.rotary(config)


def _partial(case: Case) -> dict[str, float]:
    return (
        {"partial_rotary_factor": case.options["partial_rotary_factor"]}
        if "partial_rotary_factor" in case.options
        else {}
    )


def _ours(case: Case, attention: nn.Module) -> Attention:
    ours = Attention(case.ours, HIDDEN, 0, case.rope.style)
    ours.load_state_dict({_our_name(name): x for name, x in attention.state_dict().items()})
    return ours


def _our_name(name: str) -> str:
    head, _, rest = name.partition(".")
    return ".".join(part for part in (NAMES.get(head, head), rest) if part)


def _info(rope: RopeArgs, lengths: list[int]) -> TokenInfo:
    layout = PackedLayout.from_lengths(lengths)
    context = PackedContext(Packing(layout.cu_seqlens, layout.max_seqlen, layout))
    tables = Rope(rope)(layout.position_ids(), torch.float32, context.sequence_lengths)
    return TokenInfo(layout.position_ids(), {"default": tables}, context)


def _run_hf(attention: nn.Module, rotary: nn.Module, x_NE: Tensor) -> Tensor:
    x, positions = x_NE[None], torch.arange(len(x_NE))[None]
    hidden = torch.full((len(x_NE), len(x_NE)), float("-inf")).triu(1)[None, None]
    return attention(x, position_embeddings=rotary(x, positions), attention_mask=hidden)[0][0]


@pytest.mark.parametrize("name", CASES)
def test_attention_options_match_hf_module_and_its_gradients(name: str) -> None:
    case = CASES[name]
    theirs, rotary = _hf(case)
    ours = _ours(case, theirs)
    x = torch.randn(sum(LENGTHS), HIDDEN, requires_grad=True)
    got = ours(x, _info(case.rope, LENGTHS))
    expected = torch.cat([_run_hf(theirs, rotary, part) for part in x.split(LENGTHS)])
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    grad = torch.randn_like(got)
    their_parameters = {_our_name(key): p for key, p in theirs.named_parameters()}
    expected_x, *their_grads = torch.autograd.grad(expected, [x, *their_parameters.values()], grad)
    got_x, *our_grads = torch.autograd.grad(got, [x, *ours.parameters()], grad)
    torch.testing.assert_close(got_x, expected_x, rtol=1e-3, atol=1e-4)
    by_name = dict(zip(their_parameters, their_grads, strict=True))
    for (key, _), mine in zip(ours.named_parameters(), our_grads, strict=True):
        torch.testing.assert_close(mine, by_name[key], rtol=1e-3, atol=1e-4, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("name", CASES)
def test_attention_fused_projections_give_the_same_output(name: str) -> None:
    case = CASES[name]
    ours = _ours(case, _hf(case)[0])
    x, info = torch.randn(7, HIDDEN), _info(case.rope, [7])
    with torch.no_grad():
        before = ours(x, info)
        ours.fuse()
        torch.testing.assert_close(ours(x, info), before)


@pytest.mark.parametrize("name", CASES)
def test_attention_every_parameter_has_a_role(name: str) -> None:
    ours = Attention(CASES[name].ours, HIDDEN, 0, "half")
    assert {key.split(".")[0] for key, _ in ours.named_parameters()} <= set(ours.roles())


def test_attention_query_temperature_hand_computed_case() -> None:
    """Position 3 with floors of 2 tokens: log(1 + floor((3 + 1) / 2)) = log 3, on scores and not on values."""
    args = replace(BASE, rope=None, query_temperature=QueryTemperatureArgs(beta=0.5, floor_scale=2.0, offset=1.0))
    plain, warm = Attention(replace(BASE, rope=None), HIDDEN, 0, "half"), Attention(args, HIDDEN, 0, "half")
    warm.load_state_dict(plain.state_dict())
    x, info = torch.randn(4, HIDDEN), _info(RopeArgs(theta=1e4, rotary_dim=DIM), [4])
    with torch.no_grad():
        got = warm(x, info)[3]
        plain.wq.weight.mul_(1 + 0.5 * torch.log(torch.tensor(3.0)))
        torch.testing.assert_close(got, plain(x, info)[3])


def test_attention_scaled_values_and_one_gate_a_head() -> None:
    args = replace(BASE, gate="head", value_scale=0.7)
    plain, gated = Attention(BASE, HIDDEN, 0, "half"), Attention(args, HIDDEN, 0, "half")
    gated.load_state_dict(plain.state_dict(), strict=False)
    gated.wg.weight.data.zero_()  # σ(0) = ½
    x, info = torch.randn(5, HIDDEN), _info(RopeArgs(theta=1e4, rotary_dim=DIM), [5])
    torch.testing.assert_close(gated(x, info), plain(x, info) * 0.35)
