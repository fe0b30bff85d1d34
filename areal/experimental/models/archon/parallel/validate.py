# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a model must divide by in a layout, checked before anything is built; every message has both numbers.

Called by `parallelize_decoder` and by `areal plan`. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator

from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    DeltaNetArgs,
    FeedForwardArgs,
    LayerArgs,
    MoEArgs,
    ShortConvArgs,
)
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.utils.errors import ConfigError


def check_layout(args: DecoderArgs, dims: ArchonParallelDims) -> None:
    """`ConfigError` naming the first constraint that the model breaks."""
    if dims.ep > 1 and not args.moe_layers:
        raise ConfigError(
            f"expected a model with experts for ep = {dims.ep}, got one without; leave e out of the layout"
        )
    for index, layer in enumerate(args.layers):
        for what, size, axis, ranks in _constraints(layer, dims):
            _divides(f"layer {index}: {what}", size, axis, ranks)
        _check_key_heads(index, layer, dims)
        _check_activation(index, layer, dims)


def _divides(what: str, size: int, axis: str, ranks: int) -> None:
    if size % ranks:
        raise ConfigError(f"expected {what} to be divisible by {axis} = {ranks}, got {size}; lower {axis}")


def _constraints(layer: LayerArgs, dims: ArchonParallelDims) -> Iterator[tuple[str, int, str, int]]:
    mixer, ffn = layer.mixer, layer.ffn
    if isinstance(mixer, DeltaNetArgs):
        # Not cut by tp: q, k and v lie in one projection.
        yield "value heads of the gated DeltaNet", mixer.num_value_heads, "cp", dims.cp
        yield "convolution channels of the gated DeltaNet", mixer.conv_channels, "cp", dims.cp
    elif isinstance(mixer, ShortConvArgs):
        yield "channels of the short convolution", mixer.conv_channels, "tp*cp", dims.tp * dims.cp
    else:
        yield "attention heads", mixer.num_heads, "tp*cp", dims.tp * dims.cp
    if isinstance(mixer, AttentionArgs):
        yield "key-value heads (they are not repeated over tensor-parallel ranks)", mixer.num_kv_heads, "tp", dims.tp
    if isinstance(ffn, FeedForwardArgs):
        yield "width of the feed-forward", ffn.intermediate_size, "tp", dims.tp
        return
    yield "experts", ffn.num_experts, "ep", dims.ep
    yield "width of an expert", ffn.experts.intermediate_size, "etp (tp without expert parallelism)", dims.expert_tp
    if ffn.shared is not None:
        yield "width of the shared experts", ffn.shared.feed_forward.intermediate_size, "tp", dims.tp


def _check_key_heads(index: int, layer: LayerArgs, dims: ArchonParallelDims) -> None:
    if not isinstance(layer.mixer, AttentionArgs):
        return
    local = layer.mixer.num_kv_heads // dims.tp
    if local % dims.cp and dims.cp % local:
        raise ConfigError(
            f"expected layer {index}: key-value heads of a tensor-parallel rank to divide cp or to be divisible by it, got "
            f"{local} = {layer.mixer.num_kv_heads}/{dims.tp} heads and cp = {dims.cp}; change cp"
        )


def _check_activation(index: int, layer: LayerArgs, dims: ArchonParallelDims) -> None:
    """One trainable activation serves all experts, so that its gradient is no sum within the ranks of some of them."""
    if isinstance(layer.ffn, MoEArgs) and layer.ffn.experts.activation == "xielu" and dims.ep_enabled:
        raise ConfigError(
            f"expected no trainable activation in experts with expert parallelism, got layer {index}: xielu and ep = "
            f"{dims.ep}; use ep = 1"
        )
