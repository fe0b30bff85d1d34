# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What the backward pass needs from the forward pass, estimated from the options of each layer.

The estimate counts the tensors that autograd keeps with fused attention (its scores never exist) and an unfused norm, gate and
feed-forward, as the layers of this package run on a GPU. Tests compare it with what autograd really keeps. Elements are of the
compute dtype. Dimensions: T tokens of a micro-batch, E hidden width; n rows on this rank between blocks, m inside a mixer.
"""

from __future__ import annotations

from dataclasses import dataclass

from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    DeltaNetArgs,
    FeedForwardArgs,
    LayerArgs,
    MLAArgs,
    MoEArgs,
    NormArgs,
    ShortConvArgs,
)
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims

_SHORT_CONV_KEPT = 6
"""Of the channels of a short convolution: b, c, v, b · v, what is convolved, and the gated output."""


@dataclass(frozen=True)
class LayerActivations:
    """Elements that a block keeps: all of it, and its input alone (what full checkpointing keeps)."""

    kept: int
    block_input: int


def layer_activations(args: DecoderArgs, layer: int, num_tokens: int, dims: ArchonParallelDims) -> LayerActivations:
    """The elements one micro-batch of `num_tokens` tokens leaves in a block of this rank."""
    block = args.layers[layer]
    rows_n = num_tokens // (dims.tp * dims.cp)
    rows_m = num_tokens // dims.cp
    block_input = rows_n * args.hidden_size
    kept = _norms(block, rows_n, args.hidden_size)
    kept += _mixer(block, rows_m, args.hidden_size, dims.tp)
    kept += _feed_forward(block, rows_n, rows_m, args.hidden_size, dims)
    return LayerActivations(kept=kept, block_input=block_input)


def _norms(block: LayerArgs, rows: int, width: int) -> int:
    """A norm keeps its input; of a weighted one with an offset or in fp32 also the normalised rows."""
    norms = (block.attention_norm, block.attention_post_norm, block.ffn_norm, block.ffn_post_norm)
    return sum(rows * width * _kept_by(norm) for norm in norms if norm is not None)


def _kept_by(norm: NormArgs) -> int:
    is_fused = norm.kind == "rms" and norm.offset == 0.0 and not norm.has_bias
    return 1 if is_fused else 2


def _mixer(block: LayerArgs, rows: int, width: int, tp: int) -> int:
    mixer = block.mixer
    if isinstance(mixer, AttentionArgs):
        return rows * width + _attention(mixer, rows) // tp
    if isinstance(mixer, MLAArgs):
        latents = (mixer.q_rank or 0) * 2 + mixer.kv_rank * 2
        head = mixer.nope_head_dim + mixer.rope_head_dim
        heads = mixer.num_heads * (2 * head + 2 * mixer.value_head_dim)
        return rows * (width + latents) + rows * heads // tp
    if isinstance(mixer, ShortConvArgs):
        return rows * width + rows * _SHORT_CONV_KEPT * mixer.conv_channels // tp
    assert isinstance(mixer, DeltaNetArgs)
    return rows * (width + _delta_net(mixer))


def _attention(mixer: AttentionArgs, rows: int) -> int:
    """Rotated q, k and v, the output, and what norms and gates keep besides."""
    q, k = mixer.num_heads * mixer.qk_width, mixer.num_kv_heads * mixer.qk_width
    v, out = mixer.num_kv_heads * mixer.value_head_dim, mixer.num_heads * mixer.value_head_dim
    elements = q + k + v + out
    if mixer.qk_norm is not None:
        elements += (q + k) * _kept_by(mixer.qk_norm.norm)
    if mixer.gate in ("query", "channel"):
        elements += 2 * out
    if mixer.out_norm is not None:
        elements += out
    return rows * elements


def _delta_net(mixer: DeltaNetArgs) -> int:
    """Convolution input and output, the l2-normalised heads, the chunked rule's fp32 copies, gate and gated output."""
    keys, values = mixer.num_key_heads * mixer.key_head_dim, mixer.num_value_heads * mixer.value_head_dim
    repeated = mixer.num_value_heads * mixer.key_head_dim
    return 2 * (2 * keys + values) + 4 * repeated + 2 * 2 * (2 * repeated + 2 * values) + 4 * values


def _feed_forward(block: LayerArgs, rows_n: int, rows_m: int, width: int, dims: ArchonParallelDims) -> int:
    ffn = block.ffn
    if isinstance(ffn, FeedForwardArgs):
        return rows_m * width + rows_m * _inner(ffn) // dims.tp
    assert isinstance(ffn, MoEArgs)
    # With experts spread over ranks each sees its share of the rows, in the mean; dispatch keeps the rows it sent.
    rows = rows_n * ffn.top_k if dims.ep > 1 and dims.expert_tp == 1 else rows_m * ffn.top_k
    per_row = 2 * width + (4 if ffn.experts.gated else 2) * ffn.experts.intermediate_size // dims.expert_tp
    kept = rows_n * (width + 4 * ffn.num_experts) + rows * per_row
    if ffn.shared is not None:
        kept += rows_m * width + rows_m * _inner(ffn.shared.feed_forward) // dims.tp
    return kept


def _inner(ffn: FeedForwardArgs) -> int:
    """Gate, its activation, up and their product; without a gate, the activation's input and output."""
    return (4 if ffn.gated else 2) * ffn.intermediate_size + (ffn.intermediate_size if ffn.inner_norm else 0)
