# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from areal.experimental.models.archon.contexts.packed import PackedContext
from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    DeltaNetArgs,
    FeedForwardArgs,
    LayerArgs,
    MLAArgs,
    NormArgs,
    RopeArgs,
    ScoreArgs,
)
from areal.models.packed_attention.layout import PackedLayout
from areal.models.packed_attention.sharing import find_shared_prefixes
from areal.utils.errors import ConfigError

NORM = NormArgs()
MIXERS = (
    AttentionArgs(num_heads=4, num_kv_heads=2, head_dim=8, value_head_dim=8, score=ScoreArgs(scale=0.4, window=9)),
    MLAArgs(
        num_heads=4,
        q_rank=12,
        kv_rank=10,
        nope_head_dim=4,
        rope_head_dim=8,
        value_head_dim=6,
        score=ScoreArgs(scale=0.3),
        norm=NORM,
    ),
    DeltaNetArgs(num_key_heads=2, num_value_heads=4, key_head_dim=8, value_head_dim=6, conv_kernel=4, norm=NORM),
)


def _args(rope: RopeArgs) -> DecoderArgs:
    ffn = FeedForwardArgs(intermediate_size=24)
    layers = tuple(LayerArgs(mixer=m, ffn=ffn, attention_norm=NORM, ffn_norm=NORM) for m in MIXERS)
    return DecoderArgs(
        vocab_size=50, hidden_size=32, layers=layers, final_norm=NORM, max_positions=64, ropes={"default": rope}
    )


@pytest.fixture
def model() -> ArchonModel:
    torch.manual_seed(0)
    model = ArchonModel(_args(RopeArgs(theta=1e4, rotary_dim=8)))
    model.init_weights()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.double()


def _gradients(model: ArchonModel, objective: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(objective, list(model.parameters())))


def _separate(model: ArchonModel, sequences: list[Tensor]) -> Tensor:
    """Logits of each sequence on its own, `[1, T, V]`."""
    logits = []
    for ids in sequences:
        boundaries = torch.tensor([0, len(ids)], dtype=torch.int32)
        logits.append(model(ids[None], torch.arange(len(ids))[None], boundaries, len(ids)))
    return torch.cat(logits, dim=1)


def test_packed_context_packed_sequences_equal_separate_ones(model: ArchonModel) -> None:
    sequences = [torch.randint(0, 50, (length,)) for length in (7, 1, 20, 13)]
    layout = PackedLayout.from_lengths([len(s) for s in sequences])
    got = model(torch.cat(sequences)[None], layout.position_ids()[None], layout.cu_seqlens, layout.max_seqlen)
    expected = _separate(model, sequences)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    weights = torch.randn_like(got)
    for ours, theirs in zip(_gradients(model, (got * weights).sum()), _gradients(model, (expected * weights).sum())):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)  # delta rule and norms are fp32 inside


def test_packed_context_shared_prefixes_give_logits_and_gradients_of_separate_sequences(model: ArchonModel) -> None:
    prompt = torch.randint(0, 50, (11,))
    sequences = [torch.cat((prompt, torch.randint(0, 50, (length,)))) for length in (4, 9, 2)]
    sequences.append(torch.randint(0, 50, (6,)))
    ids, lengths = torch.cat(sequences), [len(s) for s in sequences]
    shared = find_shared_prefixes(ids, tuple(lengths))
    assert shared is not None
    layout = PackedLayout.from_lengths(lengths, shared=shared)

    rows = model(
        ids[shared.first_tokens][None], layout.position_ids()[None], layout.cu_seqlens, layout.max_seqlen, layout
    )

    assert rows.shape[1] == len(ids) - 2 * len(prompt)
    got, expected = rows[:, shared.token_rows], _separate(model, sequences)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    weights = torch.randn_like(got)
    for ours, theirs in zip(_gradients(model, (got * weights).sum()), _gradients(model, (expected * weights).sum())):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)  # delta rule and norms are fp32 inside


def test_packed_context_sequence_lengths_one_a_token() -> None:
    context = PackedContext.of(_args(RopeArgs(theta=1e4, rotary_dim=8)), torch.tensor([0, 2, 2, 5]), 3)
    assert context.sequence_lengths().tolist() == [2, 2, 3, 3, 3]


def test_packed_context_shared_prefixes_with_tables_by_length_are_refused() -> None:
    args = _args(RopeArgs(theta=1e4, rotary_dim=8, kind="dynamic", factor=2.0, max_positions=16))
    ids = torch.arange(10).repeat(2)
    ids[-1] = 40
    layout = PackedLayout.from_lengths([10, 10], shared=find_shared_prefixes(ids, (10, 10)))
    with pytest.raises(ConfigError, match="rope_type dynamic"):
        PackedContext.of_layout(args, layout)
    PackedContext.of_layout(replace(args, ropes={}), layout)


def test_packed_context_tree_of_other_sequences_raises() -> None:
    args = _args(RopeArgs(theta=1e4, rotary_dim=8))
    with pytest.raises(ValueError, match="3 sequences of cu_seqlens, got one of 2"):
        PackedContext.of(args, torch.tensor([0, 2, 4, 5]), 2, PackedLayout.from_lengths([2, 3]))
