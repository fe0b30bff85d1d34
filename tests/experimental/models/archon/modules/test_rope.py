# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import HunYuanMoEV1Config, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.cohere.modeling_cohere import apply_rotary_pos_emb as apply_interleaved
from transformers.models.hunyuan_v1_moe.modeling_hunyuan_v1_moe import HunYuanMoEV1RotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as apply_half

from areal.experimental.models.archon.base import UnsupportedConfig
from areal.experimental.models.archon.hf_config import rope_tables
from areal.experimental.models.archon.hf_fields import HFFields
from areal.experimental.models.archon.model_args import RopeArgs
from areal.experimental.models.archon.modules.rope import Rope, rotate
from areal.experimental.models.archon.modules.rope_frequencies import attention_factor, frequencies

HEAD_DIM, THETA, MAX, ORIGINAL = 16, 1e4, 128, 32
SHORT, LONG = [1.0 + 0.1 * i for i in range(8)], [2.0 + 0.5 * i for i in range(8)]
SCALED = {"original_max_position_embeddings": ORIGINAL, "factor": 4.0}
# transformers' parameters, and ours.
TABLES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({"rope_type": "default"}, {}),
    "linear": ({"rope_type": "linear", "factor": 4.0}, {"factor": 4.0}),
    "dynamic": ({"rope_type": "dynamic", "factor": 4.0}, {"factor": 4.0}),
    "yarn": ({"rope_type": "yarn", **SCALED}, {"factor": 4.0}),
    "yarn-untruncated": ({"rope_type": "yarn", "truncate": False, **SCALED}, {"factor": 4.0, "truncate": False}),
    "yarn-betas": (
        {"rope_type": "yarn", "beta_fast": 4.0, "beta_slow": 0.5, **SCALED},
        {"factor": 4.0, "beta_fast": 4.0, "beta_slow": 0.5},
    ),
    "yarn-mscale": (
        {"rope_type": "yarn", "mscale": 0.7, "mscale_all_dim": 1.3, **SCALED},
        {"factor": 4.0, "mscale": 0.7, "mscale_all_dim": 1.3},
    ),
    "yarn-attention-factor": (
        {"rope_type": "yarn", "attention_factor": 1.7, **SCALED},
        {"factor": 4.0, "attention_factor": 1.7},
    ),
    "longrope": (
        {
            "rope_type": "longrope",
            "short_factor": SHORT,
            "long_factor": LONG,
            "original_max_position_embeddings": ORIGINAL,
        },
        {"short_factor": tuple(SHORT), "long_factor": tuple(LONG), "factor": MAX / ORIGINAL},
    ),
    "longrope-factor": (
        {"rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG, **SCALED, "factor": 6.0},
        {"short_factor": tuple(SHORT), "long_factor": tuple(LONG), "factor": 6.0},
    ),
    "llama3": (
        {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, **SCALED},
        {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    ),
    "proportional": ({"rope_type": "proportional", "partial_rotary_factor": 0.5, "factor": 2.0}, {"factor": 2.0}),
    "partial": ({"rope_type": "default", "partial_rotary_factor": 0.5}, {}),
}
LENGTHS = [1, ORIGINAL, ORIGINAL + 1, 3 * MAX]


def _config(name: str) -> LlamaConfig:
    parameters = {**TABLES[name][0], "rope_theta": THETA}
    return LlamaConfig(
        hidden_size=64,
        num_attention_heads=4,
        head_dim=HEAD_DIM,
        max_position_embeddings=MAX,
        rope_parameters=parameters,
    )


def _args(name: str, **overrides: Any) -> RopeArgs:
    theirs, ours = TABLES[name]
    return RopeArgs(
        theta=THETA,
        rotary_dim=int(HEAD_DIM * theirs.get("partial_rotary_factor", 1.0)),
        head_dim=HEAD_DIM,
        kind=theirs["rope_type"],
        max_positions=MAX,
        original_max_positions=ORIGINAL,
        **{**ours, **overrides},
    )


def _hf_rope(name: str) -> LlamaRotaryEmbedding:
    return LlamaRotaryEmbedding(_config(name))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", TABLES)
def test_frequencies_every_kind_matches_transformers(name: str, length: int) -> None:
    config = _config(name)
    kind = config.rope_parameters["rope_type"]
    if kind == "default":
        expected, factor = LlamaRotaryEmbedding.compute_default_rope_parameters(config)
        expected = expected[: _args(name).rotary_dim // 2] if name != "partial" else None
    else:
        expected, factor = ROPE_INIT_FUNCTIONS[kind](config, seq_len=length)
    got = frequencies(_args(name), length)
    assert attention_factor(_args(name)) == pytest.approx(factor, rel=1e-6)
    if expected is not None:
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=0.0)


def _heads(length: int, width: int = HEAD_DIM) -> Tensor:
    return torch.randn(length, 3, width, generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", [name for name in TABLES if name not in ("partial", "proportional")])
def test_rope_half_style_matches_transformers_beyond_the_original_length(name: str, length: int) -> None:
    x, positions = _heads(length), torch.arange(length)
    cos, sin = _hf_rope(name)(x, positions[None])
    expected, _ = apply_half(x.transpose(0, 1)[None], x.transpose(0, 1)[None], cos, sin)
    tables = Rope(_args(name))(positions, torch.float32, lambda: torch.full((length,), length))
    torch.testing.assert_close(rotate(x, *tables, "half"), expected[0].transpose(0, 1), rtol=1e-5, atol=2e-5)


def test_rope_interleaved_style_matches_cohere() -> None:
    x, positions = _heads(50), torch.arange(50)
    cos, sin = _hf_rope("default")(x, positions[None])
    # cohere repeats each angle where llama lays two copies side by side
    cos, sin = (t[..., : HEAD_DIM // 2].repeat_interleave(2, dim=-1) for t in (cos, sin))
    expected, _ = apply_interleaved(x.transpose(0, 1)[None], x.transpose(0, 1)[None], cos, sin)
    tables = Rope(_args("default", style="interleaved"))(positions, torch.float32, lambda: positions)
    torch.testing.assert_close(rotate(x, *tables, "interleaved"), expected[0].transpose(0, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("style", ["half", "interleaved"])
def test_rotate_partial_leaves_the_other_channels(style: str) -> None:
    x, positions = _heads(9), torch.arange(9)
    tables = Rope(_args("partial", style=style))(positions, torch.float32, lambda: positions)
    got = rotate(x, *tables, style)
    torch.testing.assert_close(got[..., :8], rotate(x[..., :8], *tables, style))
    torch.testing.assert_close(got[..., 8:], x[..., 8:])
    torch.testing.assert_close(got.norm(dim=-1), x.norm(dim=-1))


def test_rotate_hand_computed_quarter_turn() -> None:
    """Position p with θ = 1 turns each pair by p radians."""
    rope = Rope(RopeArgs(theta=1.0, rotary_dim=4))
    cos, sin = rope(torch.tensor([torch.pi / 2]), torch.float64, lambda: torch.tensor([1]))
    half = rotate(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]], dtype=torch.float64), cos, sin, "half")
    torch.testing.assert_close(half, torch.tensor([[[-3.0, -4.0, 1.0, 2.0]]], dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["dynamic", "longrope"])
def test_rope_by_length_does_not_depend_on_other_sequences(name: str) -> None:
    """HF takes the longest sequence of a batch for all of them; here each sequence has the table of its own length."""
    lengths = [ORIGINAL - 5, 2 * MAX]
    rope = Rope(_args(name))
    positions = torch.cat([torch.arange(length) for length in lengths])
    lengths_N = torch.tensor(lengths).repeat_interleave(torch.tensor(lengths))
    cos, sin = rope(positions, torch.float32, lambda: lengths_N)
    for length, rows in zip(lengths, (slice(0, lengths[0]), slice(lengths[0], None)), strict=True):
        hf_cos, hf_sin = _hf_rope(name)(torch.zeros(1), torch.arange(length)[None])
        torch.testing.assert_close(cos[rows, 0], hf_cos[0], rtol=1e-5, atol=2e-5)
        torch.testing.assert_close(sin[rows, 0, 8:], hf_sin[0, :, 8:], rtol=1e-5, atol=2e-5)


def test_rope_rounded_to_bfloat16_after_fp32_angles() -> None:
    positions = torch.tensor([100_000])
    rope = Rope(_args("default")).to(torch.bfloat16)
    cos, _ = rope(positions, torch.bfloat16, lambda: positions)
    exact, _ = Rope(_args("default"))(positions, torch.float32, lambda: positions)
    torch.testing.assert_close(cos, exact.bfloat16(), rtol=0, atol=0)


def test_fixed_alpha_of_hunyuan_grows_the_base_and_needs_a_family_that_says_so() -> None:
    parameters = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 1.0, "alpha": 1000.0}
    config = HunYuanMoEV1Config(head_dim=16, rope_parameters=parameters)
    expected, _ = HunYuanMoEV1RotaryEmbedding.compute_ntk_alpha_rope_parameters(config)
    (table,) = rope_tables(HFFields(config), 16, fixed_alpha=True).values()
    torch.testing.assert_close(frequencies(table), expected)
    with pytest.raises(UnsupportedConfig, match="alpha"):
        rope_tables(HFFields(config), 16)
