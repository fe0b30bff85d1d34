# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny models, a packed batch, and one optimizer step in any layout, to be compared with one process without any layout."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    DeltaNetArgs,
    EmbeddingArgs,
    ExpertArgs,
    FeedForwardArgs,
    HeadArgs,
    LayerArgs,
    MLAArgs,
    MoEArgs,
    NormArgs,
    QKNormArgs,
    RopeArgs,
    RouterArgs,
    ScoreArgs,
    SharedExpertArgs,
)
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.parallelize import parallelize_decoder
from areal.experimental.models.archon.parallel.scoring import ScoringDecoder
from areal.experimental.models.archon.parallel.ulysses import slice_inputs

LEARNING_RATE = 0.5
HIDDEN, HEAD_DIM, VOCAB = 16, 8, 32
LENGTHS = (7, 1, 12, 4)
"""Sequences of one data-parallel rank; with padding 24 tokens."""

NORM = NormArgs()
ATTENTION = AttentionArgs(
    num_heads=4,
    num_kv_heads=2,
    head_dim=HEAD_DIM,
    value_head_dim=HEAD_DIM,
    score=ScoreArgs(scale=HEAD_DIM**-0.5),
    qk_norm=QKNormArgs(norm=NORM),
)
FFN = FeedForwardArgs(intermediate_size=24)
LAYER = LayerArgs(mixer=ATTENTION, ffn=FFN, attention_norm=NORM, ffn_norm=NORM)
DENSE = DecoderArgs(
    vocab_size=VOCAB,
    hidden_size=HIDDEN,
    layers=(LAYER,) * 2,
    final_norm=NORM,
    max_positions=64,
    ropes={"default": RopeArgs(theta=10000.0, rotary_dim=HEAD_DIM)},
    init_std=0.2,
)
EXPERTS = MoEArgs(
    num_experts=4,
    top_k=2,
    router=RouterArgs(normalize=True),
    experts=ExpertArgs(intermediate_size=8),
    shared=SharedExpertArgs(feed_forward=FeedForwardArgs(intermediate_size=8), gate=True),
)
DELTA = DeltaNetArgs(num_key_heads=2, num_value_heads=4, key_head_dim=4, value_head_dim=4, conv_kernel=3, norm=NORM)
LATENT = MLAArgs(
    num_heads=4,
    q_rank=8,
    kv_rank=8,
    nope_head_dim=4,
    rope_head_dim=HEAD_DIM,
    value_head_dim=4,
    score=ScoreArgs(scale=0.3),
    norm=NORM,
)
MIXERS = replace(
    DENSE, layers=(replace(LAYER, mixer=DELTA), replace(LAYER, mixer=LATENT)), head=HeadArgs(scale=1.3, softcap=3.0)
)
"""Mixers beside grouped-query attention."""
WITH_BIAS = NormArgs(kind="layer", has_bias=True)
RICH_ATTENTION = replace(
    ATTENTION,
    score=ScoreArgs(scale=0.3, sinks=True, window=5),
    qkv_bias=True,
    out_bias=True,
    gate="channel",
    out_norm=NORM,
)
RICH_FFN = FeedForwardArgs(intermediate_size=24, activation="xielu", in_bias=True, out_bias=True, inner_norm=WITH_BIAS)
RICH = replace(
    DENSE,
    layers=(
        replace(LAYER, mixer=replace(RICH_ATTENTION, qk_norm=QKNormArgs(norm=NORM, kind="flat")), ffn=RICH_FFN),
        replace(
            LAYER,
            mixer=replace(RICH_ATTENTION, qk_norm=QKNormArgs(norm=NORM, kind="per_head"), gate="query"),
            attention_post_norm=WITH_BIAS,
            ffn_post_norm=NORM,
            ffn=replace(RICH_FFN, activation="gelu", gated=False),
        ),
    ),
    embedding=EmbeddingArgs(scale=2.0, norm=WITH_BIAS),
    head=HeadArgs(bias=True),
)
"""Every parameter that a role was declared for."""
TIED = replace(DENSE, tie_embeddings=True)
CRITIC = replace(DENSE, is_critic=True)
BIASED_EXPERTS = replace(
    EXPERTS, experts=ExpertArgs(intermediate_size=8, activation="clamped_swiglu", clamp=2.0, bias=True)
)
MOE_BIASED = replace(DENSE, layers=(replace(LAYER, ffn=BIASED_EXPERTS),) * 2)
MOE = replace(DENSE, layers=(LAYER, replace(LAYER, ffn=EXPERTS)))


@dataclass(frozen=True)
class Batch:
    """A packed micro-batch: tokens, positions and labels `[1, N]`, weights of the log-probs and entropies in the loss."""

    tokens: Tensor
    positions: Tensor
    labels: Tensor
    cu_seqlens: Tensor
    max_seqlen: int
    loss_weights: Tensor  # [1, N, 2]


def make_batch(seed: int, lengths: tuple[int, ...] = LENGTHS) -> Batch:
    """Random tokens in sequences of these lengths."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    tokens, labels = (torch.randint(VOCAB, (1, total), generator=generator) for _ in range(2))
    positions = torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0)
    cu_seqlens = torch.tensor((0, *lengths)).cumsum(0, dtype=torch.int32)
    weights = torch.randn((1, total, 2), generator=generator) / total
    return Batch(tokens, positions, labels, cu_seqlens, max(lengths), weights)


def sliced(batch: Batch, dims: ArchonParallelDims) -> Batch:
    """The tokens of this context-parallel rank."""
    rank = dims.local_rank("cp")
    fields = ("tokens", "positions", "labels", "loss_weights")
    return replace(batch, **{name: slice_inputs(batch.__dict__[name], rank, dims.cp) for name in fields})


def make_model(args: DecoderArgs, seed: int = 0, **options: Any) -> ScoringDecoder:
    """A model with random weights, norms and biases included, equal wherever the seed is."""
    model = ScoringDecoder(args, **options)
    torch.manual_seed(seed)
    model.init_weights()
    randomise(model, seed)
    return model


def randomise(model: nn.Module, seed: int) -> None:
    """Perturb every parameter by noise that depends on its name, so that stages get what the whole model gets."""
    with torch.no_grad():
        for name, param in sorted(model.named_parameters()):
            generator = torch.Generator().manual_seed(seed + sum(map(ord, name)) * 31)
            std = 0.2 if param.ndim > 1 else 0.1
            base = 0.0 if param.ndim > 1 else 1.0
            param.copy_(base + std * torch.randn(param.shape, generator=generator))


def loss_of(model: ScoringDecoder, batch: Batch) -> Tensor:
    """A loss with a different weight for each token's log-prob and entropy."""
    scores = model(batch.tokens, batch.positions, batch.cu_seqlens, batch.max_seqlen, labels=batch.labels)
    return (scores * batch.loss_weights[..., : scores.shape[-1]]).sum()


def sgd_step(model: nn.Module) -> None:
    """One step of plain SGD, in place."""
    torch.optim.SGD(model.parameters(), LEARNING_RATE).step()


def full_state(model: nn.Module) -> dict[str, Tensor]:
    """All parameters, whole."""
    return {
        name: (param.full_tensor() if isinstance(param, DTensor) else param).detach().clone()
        for name, param in model.named_parameters()
    }


def reference_step(args: DecoderArgs, batches: list[Batch]) -> tuple[float, dict[str, Tensor]]:
    """Loss and parameters after one step on all batches, in one process."""
    model = make_model(args)
    losses = [loss_of(model, batch) for batch in batches]
    torch.stack(losses).sum().backward()
    sgd_step(model)
    return float(sum(loss.detach() for loss in losses)), full_state(model)


def parallel_step(
    rank: int, world_size: int, args: DecoderArgs, sizes: dict[str, int]
) -> tuple[float, dict[str, Tensor]]:
    """What `reference_step` computes on one batch a data-parallel rank, in a layout without pipeline."""
    dims = ArchonParallelDims(**sizes, world_size=world_size)
    model = parallelize_decoder(make_model(args), dims, param_dtype=torch.float32)
    batch = sliced(make_batch(dims.local_rank("dp")), dims)
    loss = loss_of(model, batch)
    loss.backward()
    sgd_step(model)
    total = loss.detach()
    dist.all_reduce(total, group=dims.get_group("dp_cp"))
    state = full_state(model)
    dist.barrier()
    return float(total), state


def assert_same_step(got: tuple[float, dict[str, Tensor]], expected: tuple[float, dict[str, Tensor]]) -> None:
    """Losses and all parameters within 1e-5."""
    assert abs(got[0] - expected[0]) < 1e-5 * max(1.0, abs(expected[0]))
    assert got[1].keys() == expected[1].keys()
    for name, value in expected[1].items():
        torch.testing.assert_close(
            got[1][name], value, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
