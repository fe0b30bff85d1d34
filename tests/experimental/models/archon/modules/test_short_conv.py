# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor, nn
from transformers import Lfm2Config
from transformers.models.lfm2.modeling_lfm2 import Lfm2ShortConv

from areal.engine.native.decode_context import DecodeContext
from areal.engine.native.fill_contexts import PromptContext
from areal.engine.native.slot_cache import SlotCache
from areal.experimental.models.archon.contexts.packed import PackedContext
from areal.experimental.models.archon.contexts.protocol import MixingContext, TokenInfo
from areal.experimental.models.archon.kernels.attention import Packing
from areal.experimental.models.archon.model_args import (
    DecoderArgs,
    FeedForwardArgs,
    LayerArgs,
    NormArgs,
    ShortConvArgs,
)
from areal.experimental.models.archon.modules.short_conv import ShortConv
from areal.models.packed_attention.layout import PackedLayout

HIDDEN, S = 32, 3
LENGTHS = [7, 1, 12]


def _hf_module(bias: bool) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": HIDDEN, "num_hidden_layers": 1, "layer_types": ["conv"], "conv_L_cache": S}
    return Lfm2ShortConv(Lfm2Config(**sizes, conv_bias=bias), 0)


def _args(bias: bool) -> ShortConvArgs:
    return ShortConvArgs(conv_channels=HIDDEN, conv_kernel=S, bias=bias)


def _ours(theirs: nn.Module, bias: bool) -> ShortConv:
    state = dict(theirs.state_dict())
    state["conv1d.weight"] = state.pop("conv.weight").squeeze(1)
    for part in ("weight", "bias") if bias else ("weight",):
        names = ("in_proj_b", "in_proj_c", "in_proj_v")
        state |= {f"{n}.{part}": t for n, t in zip(names, state.pop(f"in_proj.{part}").chunk(3), strict=True)}
    if bias:
        state["conv_bias"] = state.pop("conv.bias")
    ours = ShortConv(_args(bias), HIDDEN, 0)
    ours.load_state_dict(state)
    return ours


def _packed(lengths: list[int]) -> TokenInfo:
    layout = PackedLayout.from_lengths(lengths)
    return _info(PackedContext(Packing(layout.cu_seqlens, layout.max_seqlen, layout)), layout.position_ids())


def _info(context: MixingContext, positions: Tensor) -> TokenInfo:
    return TokenInfo(positions, {}, context)


@pytest.mark.parametrize("bias", [False, True])
def test_short_conv_equals_hf_sequence_by_sequence_in_value_and_gradient(bias: bool) -> None:
    theirs = _hf_module(bias)
    ours = _ours(theirs, bias)
    x = torch.randn(sum(LENGTHS), HIDDEN, requires_grad=True)
    got = ours(x, _packed(LENGTHS))
    expected = torch.cat([theirs(part[None])[0] for part in x.split(LENGTHS)])
    torch.testing.assert_close(got, expected)
    weight = torch.randn_like(expected)
    (dgot,), (dexpected,) = (torch.autograd.grad((y * weight).sum(), x) for y in (got, expected))
    torch.testing.assert_close(dgot, dexpected)


def test_short_conv_of_a_server_continues_its_prompts_token_by_token() -> None:
    ours = _ours(_hf_module(True), True)
    ours.fuse()
    layer = LayerArgs(mixer=_args(True), ffn=FeedForwardArgs(intermediate_size=8))
    args = DecoderArgs(vocab_size=8, hidden_size=HIDDEN, layers=(layer,), final_norm=NormArgs(), max_positions=64)
    cache = SlotCache(args, torch.float32, torch.device("cpu"))
    cache.reserve(2, 16)
    sequences = [torch.randn(9, HIDDEN), torch.randn(5, HIDDEN)]
    with torch.no_grad():
        whole = [ours(x, _packed([len(x)])) for x in sequences]
        prompts = PromptContext(args, cache, [6, 2], torch.device("cpu"))
        ours(torch.cat((sequences[0][:6], sequences[1][:2])), _info(prompts, prompts.positions_N))
        for row, kept in enumerate(prompts.kept()):
            cache.write_prefix(slice(row, row + 1), kept)
        decode = DecodeContext(cache, torch.tensor([6, 2]))
        for step in range(3):
            decode.advance(7 + step)
            new = torch.stack((sequences[0][6 + step], sequences[1][2 + step]))
            got = ours(new, _info(decode, decode.positions_R))
            torch.testing.assert_close(got, torch.stack((whole[0][6 + step], whole[1][2 + step])))


def test_short_conv_every_child_has_a_role() -> None:
    ours = ShortConv(_args(True), HIDDEN, 0)
    assert {name.split(".")[0] for name, _ in ours.named_parameters()} == set(ours.roles())
