# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Linear biases of scores against the paper's slopes, HF's tables, and a softmax with the biases written out."""

import pytest
import torch
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

from areal.engine.native.decode_context import DecodeContext
from areal.engine.native.fill_contexts import ExtendContext, PromptContext
from areal.engine.native.slot_cache import SlotCache
from areal.experimental.models.archon.contexts.packed import PackedContext
from areal.experimental.models.archon.contexts.protocol import TokenInfo
from areal.experimental.models.archon.kernels.attention import Packing
from areal.experimental.models.archon.model_args import (
    AlibiArgs,
    AttentionArgs,
    DecoderArgs,
    FeedForwardArgs,
    LayerArgs,
    NormArgs,
    ScoreArgs,
)
from areal.experimental.models.archon.modules.alibi import slopes_of, with_biases
from areal.experimental.models.archon.modules.attention import Attention

MIXER = AttentionArgs(
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    value_head_dim=8,
    score=ScoreArgs(scale=0.3),
    rope=None,
    alibi=AlibiArgs(max_bias=3.0),
)


def test_slopes_of_eight_heads_are_those_of_the_paper():
    assert slopes_of(AlibiArgs(), 8).tolist() == [2.0**-n for n in range(1, 9)]


def test_factor_multiplies_every_slope():
    assert slopes_of(AlibiArgs(max_bias=4.0, factor=3.0), 2).tolist() == [3 * 2.0**-2, 3 * 2.0**-4]


@pytest.mark.parametrize(("num_heads", "max_bias"), [(1, 8), (12, 8), (16, 5), (71, 8)])
def test_slopes_of_any_number_of_heads_equal_hf(num_heads, max_bias):
    hf = build_mpt_alibi_tensor(num_heads, 2, max_bias)
    torch.testing.assert_close(slopes_of(AlibiArgs(max_bias=max_bias), num_heads), -hf[:, 0, 0], rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("dtype", "start", "tolerance"),
    [
        (torch.float32, 5000, 1e-4),
        (torch.bfloat16, 5000, 2e-2),
        (torch.bfloat16, 66_010, 2e-2),
        (torch.float16, 66_010, 2e-2),
    ],
)
def test_weights_equal_a_softmax_with_biases_far_from_the_start_too(dtype, start, tolerance):
    """Scores are sums of numbers as large as slope times position; bf16: its slopes are rounded to 8 bits, its positions are not."""
    torch.manual_seed(0)
    q, k = torch.randn(1, 4, 16).to(dtype), torch.randn(40, 2, 16).to(dtype)
    positions = torch.arange(40) + start
    slopes = slopes_of(AlibiArgs(max_bias=3.0, factor=0.37), 4)
    scores = 0.25 * torch.einsum("qhd,khd->hqk", q.float(), k.float().repeat_interleave(2, dim=1))
    expected = (scores - slopes[:, None, None] * (positions[-1] - positions)).softmax(-1)
    wide_q, _ = with_biases(q, k[:1], slopes, positions[-1:], 0.25)
    _, wide_k = with_biases(q.expand(40, -1, -1), k, slopes, positions, 0.25)
    got = 0.25 * torch.einsum("qhd,khd->hqk", wide_q.float(), wide_k.float().repeat_interleave(2, dim=1))
    torch.testing.assert_close(got.softmax(-1), expected, atol=tolerance, rtol=0)


def test_slopes_survive_a_cast_and_the_memory_that_a_model_from_meta_gets():
    with torch.device("meta"):
        attention = Attention(MIXER, 32, 0, "half")
    attention.to(torch.bfloat16).to_empty(device="cpu")
    assert torch.equal(attention.slopes, slopes_of(MIXER.alibi, MIXER.num_heads))


def _run(attention, x, context, positions):
    return attention(x, TokenInfo(positions, {}, context))


def test_layer_of_a_server_continues_its_prompts_token_by_token_and_in_runs():
    torch.manual_seed(0)
    attention = Attention(MIXER, 32, 0, "half")
    layer = LayerArgs(mixer=MIXER, ffn=FeedForwardArgs(intermediate_size=8))
    args = DecoderArgs(vocab_size=8, hidden_size=32, layers=(layer,), final_norm=NormArgs(), max_positions=None)
    cache = SlotCache(args, torch.float32, torch.device("cpu"))
    cache.reserve(2, 16)
    sequences = [torch.randn(9, 32), torch.randn(5, 32)]
    with torch.no_grad():
        packed = PackedContext(Packing(torch.tensor([0, 9, 14], dtype=torch.int32), 9))
        together = _run(attention, torch.cat(sequences), packed, torch.tensor([*range(9), *range(5)]))
        whole = together.split([9, 5])
        prompts = PromptContext(args, cache, [6, 2], torch.device("cpu"))
        start = torch.cat((sequences[0][:6], sequences[1][:2]))
        torch.testing.assert_close(
            _run(attention, start, prompts, prompts.positions_N), torch.cat((whole[0][:6], whole[1][:2]))
        )
        for row, kept in enumerate(prompts.kept()):
            cache.write_prefix(slice(row, row + 1), kept)
        decode = DecodeContext(cache, torch.tensor([6, 2]))
        for step in range(2):
            decode.advance(7 + step)
            new = torch.stack((sequences[0][6 + step], sequences[1][2 + step]))
            got = _run(attention, new, decode, decode.positions_R)
            torch.testing.assert_close(got, torch.stack((whole[0][6 + step], whole[1][2 + step])))
        positions = torch.tensor([[7, 8], [3, 4]])
        extend = ExtendContext(cache, 0, positions)
        new = torch.cat((sequences[0][7:9], sequences[1][3:5]))
        got = _run(attention, new, extend, positions.flatten())
        torch.testing.assert_close(got, torch.cat((whole[0][7:9], whole[1][3:5])))
