# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from areal.experimental.models.archon.args import DecoderArgs, RopeArgs, UnsupportedConfig
from areal.experimental.models.archon.attention import CausalRows
from areal.experimental.models.archon.decoder import Decoder
from areal.experimental.models.archon.registry import family_of, supported_model_types
from areal.experimental.models.archon.rope import Rope, rotate
from areal.experimental.models.archon.weight_map import WeightMap
from areal.utils.errors import CheckpointError
from tests.experimental.models.archon.tiny_models import LINEAR_ROPE, LLAMA3_ROPE, tiny_model

CASES = {
    "llama": ("llama", {}),
    "llama tied, no GQA": ("llama", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama with llama3 rope": ("llama", {"rope_parameters": LLAMA3_ROPE}),
    "llama with linear rope": ("llama", {"rope_parameters": LINEAR_ROPE}),
    "qwen2": ("qwen2", {}),
    "qwen2 tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {}),
    "qwen3 wide heads, biases": ("qwen3", {"head_dim": 16, "attention_bias": True}),
}


def archon_of(model: PreTrainedModel) -> tuple[Decoder, WeightMap]:
    config = model.config.to_dict()
    family = family_of(config["model_type"])
    args = family.args_from_hf(config)
    decoder, weights = Decoder(args), family.weight_map(args)
    decoder.load_state_dict(weights.from_hf(model.state_dict()), strict=True)
    return decoder, weights


def logits_of(decoder: Decoder, ids: Tensor, positions: Tensor | None = None) -> Tensor:
    """Logits `[B, S, V]` of rows, at positions 0..S-1 unless given."""
    rows, length = ids.shape
    positions = torch.arange(length).repeat(rows) if positions is None else positions.expand(rows, -1).flatten()
    return decoder(ids.flatten(), positions, CausalRows(rows)).unflatten(0, (rows, length))


def tokens(rows: int = 3, length: int = 40) -> Tensor:
    return torch.randint(0, 61, (rows, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("case", CASES)
def test_logits_and_gradients_of_a_random_model_equal_transformers(case: str) -> None:
    model_type, overrides = CASES[case]
    model = tiny_model(model_type, **overrides)
    decoder, weights = archon_of(model)
    ids = tokens()
    direction = torch.randn(3, 40, 61, generator=torch.Generator().manual_seed(2))

    expected, got = model(ids).logits, logits_of(decoder, ids)
    (expected.log_softmax(-1) * direction).sum().backward()
    (got.log_softmax(-1) * direction).sum().backward()

    torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-4)
    gradients = dict(weights.to_hf({name: p.grad for name, p in decoder.named_parameters()}))
    reference = {name: p.grad for name, p in model.named_parameters()}
    assert gradients.keys() == reference.keys()
    for name, gradient in reference.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-4 * gradient.abs().max().item(), rtol=1e-3)


@pytest.mark.parametrize("case", ["llama", "qwen2 tied", "qwen3"])
def test_logits_in_bfloat16_equal_transformers_to_rounding(case: str) -> None:
    model_type, overrides = CASES[case]
    model = tiny_model(model_type, **overrides).bfloat16()
    decoder, _ = archon_of(model)
    ids = tokens()

    exact = tiny_model(model_type, **overrides)(ids).logits
    expected, got = model(ids).logits, logits_of(decoder.bfloat16(), ids)

    theirs, ours = (expected.float() - exact).pow(2).mean().sqrt(), (got.float() - exact).pow(2).mean().sqrt()
    assert ours < 1.3 * theirs, f"bf16 error {ours:.4f} of ours, {theirs:.4f} of transformers"


@torch.no_grad()
def test_logits_without_gradients_equal_those_with() -> None:
    model = tiny_model("qwen3")
    decoder, _ = archon_of(model)

    torch.testing.assert_close(logits_of(decoder, tokens()), model(tokens()).logits, atol=2e-4, rtol=1e-4)


def test_given_positions_shift_the_rotation() -> None:
    model = tiny_model("qwen2")
    decoder, _ = archon_of(model)
    ids, positions = tokens(2, 9), torch.arange(9)[None] * 3 + 5

    got = logits_of(decoder, ids, positions)

    torch.testing.assert_close(got, model(ids, position_ids=positions).logits, atol=2e-4, rtol=1e-4)


def test_right_padding_leaves_the_real_tokens_unchanged() -> None:
    decoder, _ = archon_of(tiny_model("llama"))
    ids = tokens(1, 12)
    padded = torch.cat([ids, torch.zeros(1, 7, dtype=torch.long)], dim=1)

    torch.testing.assert_close(logits_of(decoder, padded)[:, :12], logits_of(decoder, ids), atol=1e-5, rtol=1e-5)


def test_rotate_equals_complex_multiplication() -> None:
    rope = Rope(RopeArgs(theta=100.0), head_dim=6)
    x, positions = torch.randn(5, 2, 6), torch.arange(5)

    got = rotate(x, *rope(positions, torch.float32))

    angle = positions[:, None] * 100.0 ** (-torch.arange(3) / 3)
    pairs = torch.complex(x[..., :3], x[..., 3:]) * torch.polar(torch.ones(5, 3), angle)[:, None]
    torch.testing.assert_close(got, torch.cat([pairs.real, pairs.imag], -1))


def test_casting_the_model_keeps_the_frequencies_exact() -> None:
    rope = Rope(RopeArgs(theta=1e6), head_dim=64)
    positions = torch.tensor([30000])

    cos, sin = rope.bfloat16()(positions, torch.float32)

    exact_cos, exact_sin = Rope(RopeArgs(theta=1e6), head_dim=64)(positions, torch.float32)
    assert torch.equal(cos, exact_cos) and torch.equal(sin, exact_sin)


@pytest.mark.parametrize(
    ("model_type", "overrides", "field"),
    [
        ("llama", {"hidden_act": "gelu"}, "hidden_act"),
        ("llama", {"attention_dropout": 0.1}, "attention_dropout"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "rope_type"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
            "partial",
        ),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}, "layer_types"),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}, "layer_types"),
    ],
)
def test_a_config_beyond_the_layers_is_refused_by_field(model_type: str, overrides: dict, field: str) -> None:
    config = tiny_model(model_type).config.to_dict() | type(tiny_model(model_type).config)(**overrides).to_dict()

    with pytest.raises(UnsupportedConfig, match=field):
        family_of(model_type).args_from_hf(config)


def test_an_unknown_model_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnsupportedConfig, match="llama, qwen2, qwen3"):
        family_of("gpt2")
    assert supported_model_types() == ["llama", "qwen2", "qwen3"]


@pytest.mark.parametrize("case", CASES)
def test_weights_map_to_hf_and_back_bijectively(case: str) -> None:
    model_type, overrides = CASES[case]
    model = tiny_model(model_type, **overrides)
    decoder, weights = archon_of(model)

    exported = dict(weights.to_hf(decoder.state_dict()))

    assert sorted(exported) == sorted(weights.hf_names()) == sorted(name for name, _ in model.named_parameters())
    for name, tensor in model.named_parameters():
        assert torch.equal(exported[name], tensor)
    again = weights.from_hf(exported)
    assert all(torch.equal(again[name], tensor) for name, tensor in decoder.state_dict().items())


def test_expected_shapes_follow_from_a_meta_model_without_memory() -> None:
    model = tiny_model("qwen3")
    family = family_of("qwen3")
    args = family.args_from_hf(model.config.to_dict())
    with torch.device("meta"):
        decoder = Decoder(args)

    shapes = {name: t.shape for name, t in family.weight_map(args).to_hf(decoder.state_dict())}

    assert shapes == {name: p.shape for name, p in model.named_parameters()}


@pytest.mark.parametrize("change", ["missing", "unknown", "rows", "untied"])
def test_an_incomplete_or_odd_checkpoint_is_refused(change: str) -> None:
    model = tiny_model("qwen2", tie_word_embeddings=True)
    _, weights = archon_of(model)
    state = dict(model.named_parameters())
    if change == "missing":
        del state["model.norm.weight"]
    elif change == "unknown":
        state["model.layers.0.self_attn.sinks"] = torch.zeros(4)
    elif change == "rows":
        state["model.layers.0.self_attn.k_proj.weight"] = torch.zeros(32, 32)
    else:
        state["lm_head.weight"] = torch.zeros(61, 32)

    with pytest.raises(CheckpointError, match=r"norm\.weight|sinks|16 rows|ties them"):
        weights.from_hf(state)


def test_old_rotary_buffers_in_a_checkpoint_are_ignored() -> None:
    model = tiny_model("llama")
    decoder, weights = archon_of(model)
    state = dict(model.named_parameters()) | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}

    assert weights.from_hf(state).keys() == decoder.state_dict().keys()


def test_family_args_read_every_dimension() -> None:
    config = tiny_model("qwen3", tie_word_embeddings=True, rms_norm_eps=1e-5).config.to_dict()

    got = family_of("qwen3").args_from_hf(config)

    assert got == DecoderArgs(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        norm_eps=1e-5,
        rope=RopeArgs(theta=10000.0),
        max_positions=256,
        tie_embeddings=True,
        qk_norm=True,
    )
