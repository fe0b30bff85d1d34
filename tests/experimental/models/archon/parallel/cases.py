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
    AlibiArgs,
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
    ShortConvArgs,
)
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.gradients import gradient_norm
from areal.experimental.models.archon.parallel.parallelize import parallelize_decoder
from areal.experimental.models.archon.parallel.pipeline import PipelineRunner, StageInputs, pad_inputs
from areal.experimental.models.archon.parallel.scoring import ScoringDecoder
from areal.experimental.models.archon.parallel.stages import count_stages, model_parts, stages_of_rank
from areal.experimental.models.archon.parallel.tied import TiedMatrix
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
TIED = replace(DENSE, tie_embeddings=True, head=HeadArgs(bias=True))
CRITIC = replace(DENSE, is_critic=True)
POSITIONS = replace(
    DENSE,
    layers=(replace(LAYER, mixer=replace(ATTENTION, rope=None)),) * 2,
    ropes={},
    embedding=EmbeddingArgs(scale=1.5, norm=NORM, has_positions=True, position_offset=2),
)
ALIBI = replace(
    DENSE,
    layers=(replace(LAYER, mixer=replace(ATTENTION, rope=None, alibi=AlibiArgs(max_bias=3.0, factor=0.7))),) * 2,
    ropes={},
    max_positions=None,
)
SHORT_CONV = replace(
    DENSE,
    layers=(LAYER, replace(LAYER, mixer=ShortConvArgs(conv_channels=12, conv_kernel=3, bias=True))),
)
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


@dataclass(frozen=True)
class Step:
    """Loss, gradient norm and parameters after one step."""

    loss: float
    grad_norm: float
    state: dict[str, Tensor]


def reference_step(args: DecoderArgs, batches: list[Batch]) -> Step:
    """One step on all batches, in one process."""
    model = make_model(args)
    losses = [loss_of(model, batch) for batch in batches]
    torch.stack(losses).sum().backward()
    norm = float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))
    sgd_step(model)
    return Step(float(sum(loss.detach() for loss in losses)), norm, full_state(model))


def parallel_step(
    rank: int,
    world_size: int,
    args: DecoderArgs,
    sizes: dict[str, int],
    options: dict[str, Any] | None = None,
    lengths: tuple[tuple[int, ...], ...] = (LENGTHS,) * 8,
) -> Step:
    """What `reference_step` computes on one batch a data-parallel rank, in a layout without pipeline."""
    dims = ArchonParallelDims(**sizes, world_size=world_size)
    model = parallelize_decoder(make_model(args), dims, **({"param_dtype": torch.float32} | (options or {})))
    batch = sliced(make_batch(dims.local_rank("dp"), lengths[dims.local_rank("dp")]), dims)
    loss = loss_of(model, batch)
    loss.backward()
    norm = gradient_norm(model.parameters(), dims)
    sgd_step(model)
    total = loss.detach()
    dist.all_reduce(total, group=dims.get_group("dp_cp"))
    state = full_state(model)
    dist.barrier()
    return Step(float(total), norm, state)


def pipeline_step(
    rank: int,
    world_size: int,
    args: DecoderArgs,
    sizes: dict[str, int],
    schedule: str,
    num_batches: int,
    options: dict[str, Any] | None = None,
) -> Step:
    """What `reference_step` computes on `num_batches` micro-batches a data-parallel rank; evaluates first."""
    dims = ArchonParallelDims(**sizes, world_size=world_size)
    num_stages = count_stages(args.num_layers, dims.pp, schedule)
    parts = model_parts(args, num_stages, schedule, less_layers=(0, 0))
    indices = stages_of_rank(dims.local_rank("pp"), dims.pp, num_stages, schedule)
    models = [
        parallelize_decoder(make_model(args, part=parts[index]), dims, param_dtype=torch.float32, **(options or {}))
        for index in indices
    ]
    runner = PipelineRunner(models, dims, schedule, num_stages, torch.float32, torch.device("cpu"))
    first = dims.local_rank("dp") * num_batches
    batches = [make_batch(seed, micro_batch_lengths(seed)) for seed in range(first, first + num_batches)]
    longest = max(batch.tokens.shape[1] for batch in batches)
    longest += -longest % dims.seq_len_divisor
    inputs = [_stage_inputs(batch, longest, dims) for batch in batches]
    weights = [_padded_weights(batch, longest, dims) for batch in batches]

    def loss_fn(position: int, scores: Tensor) -> Tensor:
        return (scores * weights[position]).sum()

    with torch.no_grad():
        evaluated = runner.run(inputs, loss_fn, has_backward=False)
    losses = runner.run(inputs, loss_fn, has_backward=True)
    torch.testing.assert_close(losses, evaluated)
    params = [param for model in models for param in model.parameters()]
    tied = TiedMatrix.of(models, runner.last_rank, dims)
    if tied is not None:
        tied.sum_gradients()
    norm = gradient_norm([p for p in params if tied is None or not tied.is_repeated or p is not tied.matrix], dims)
    torch.optim.SGD(params, LEARNING_RATE).step()
    total = torch.stack(losses).sum() / dims.tp if losses else torch.zeros(())
    dist.all_reduce(total)
    state = {name: value for model in models for name, value in full_state(model).items()}
    dist.barrier()
    return Step(float(total), norm, state)


def micro_batch_lengths(seed: int) -> tuple[int, ...]:
    """Lengths of micro-batches of different sizes and numbers of sequences; one has two tokens."""
    return ((7, 1, 12, 4), (2,), (5, 9), (3, 3, 3))[seed % 4]


def _stage_inputs(batch: Batch, length: int, dims: ArchonParallelDims) -> StageInputs:
    inputs = pad_inputs(
        StageInputs(
            tokens=batch.tokens,
            positions=batch.positions,
            labels=batch.labels,
            cu_seqlens=batch.cu_seqlens,
            max_seqlen=batch.max_seqlen,
        ),
        length,
    )
    rank = dims.local_rank("cp")
    chunks = {name: slice_inputs(inputs.__dict__[name], rank, dims.cp) for name in ("tokens", "positions", "labels")}
    return replace(inputs, **chunks)


def _padded_weights(batch: Batch, length: int, dims: ArchonParallelDims) -> Tensor:
    missing = length - batch.loss_weights.shape[1]
    padded = torch.nn.functional.pad(batch.loss_weights, (0, 0, 0, missing))
    return slice_inputs(padded, dims.local_rank("cp"), dims.cp)


def assert_same_step(got: Step, expected: Step) -> None:
    """Losses, gradient norms and all parameters (those that a stage has) within 1e-5."""
    assert abs(got.loss - expected.loss) < 1e-5 * max(1.0, abs(expected.loss))
    assert abs(got.grad_norm - expected.grad_norm) < 1e-5 * expected.grad_norm
    assert got.state and got.state.keys() <= expected.state.keys()
    for name, value in got.state.items():
        torch.testing.assert_close(
            value, expected.state[name], rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
