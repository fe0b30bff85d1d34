# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Log-probs and entropies of labels under a softmax over the vocabulary, in row chunks with hand-written gradients.

Called by the training engines for every micro-batch. Must never hold a large float32 `[T, V]` tensor: with 16 k tokens
and a vocabulary of 152 k that is 10 GB. Autograd through a loop of slices would: each slice's backward makes a zero
gradient of full size. The functions here keep one log-normaliser a row and recompute each chunk in the backward.

The formulas stand in `logit_rows`. With a `tp_group` the vocabulary is cut evenly over its ranks (Megatron's loss
parallelism): columns, weights and biases are this rank's, labels and results are those of the whole vocabulary, and the
gradient of `hidden` is this rank's part of a sum over the group.
Shapes: T tokens, V vocabulary, D hidden size, C rows of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from areal.utils.functional.logit_rows import PLAIN, LogitShape, RowStats, VocabShard, reduce_chunk

DEFAULT_CHUNK_SIZE = 1024
# The fused head keeps the logits of a batch for its backward when they take no more than this, in float32: recomputing
# them is a quarter of the head's work. It is 8 k tokens of a small vocabulary, and 440 of one with 152 k entries.
MAX_KEPT_LOGITS_BYTES = 256 << 20
# 16 MB of float32 lie in the last-level cache of a core and are reused by the allocator; 32 MB, 1,024 rows of a small
# vocabulary, are mapped and zeroed by the system anew each time, which made the head 1.2x slower.
_CPU_CHUNK_BYTES = 16 << 20
# Fewer rows make matrix products inefficient.
_MIN_CPU_ROWS = 128


def gather_logprobs(
    logits: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    tp_group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Log-prob of each label: float32 `[T]`.

    Args:
        logits: `[T, V]`, any floating dtype; not modified.
        labels: `[T]` integer, in [0, V).
        temperature: > 0; the logits are divided by it.
        chunk_size: most rows converted to float32 at a time, >= 1.
        tp_group: ranks whose logits are the columns of one vocabulary, in equal parts; None: the columns are all of it.
    """
    return gather_logprobs_entropy(logits, labels, temperature, chunk_size, tp_group)[0]


def gather_logprobs_entropy(
    logits: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    tp_group: dist.ProcessGroup | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-prob of each label and entropy of each row, in nats: float32 `[T]` each, both differentiable.

    Arguments as in `gather_logprobs`. The gradient has the dtype of the logits and is written chunk by chunk.
    """
    _check(logits.shape[0], labels, temperature, chunk_size)
    shard = VocabShard.of(tp_group, logits.shape[1])
    return _GatherLogprobs.apply(logits, labels.long(), float(temperature), chunk_size, shard)


def linear_logprobs(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    bias: Tensor | None = None,
    shape: LogitShape = PLAIN,
    tp_group: dist.ProcessGroup | None = None,
) -> Tensor:
    """`linear_logprobs_entropy` without the entropy, which costs one more pass over each chunk: float32 `[T]`."""
    _check(hidden.shape[0], labels, temperature, chunk_size)
    head = _Head(float(temperature), shape, VocabShard.of(tp_group, weight.shape[0]))
    return _LinearLogprobs.apply(hidden, weight, bias, labels.long(), head, chunk_size, False)[0]


def linear_logprobs_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    bias: Tensor | None = None,
    shape: LogitShape = PLAIN,
    tp_group: dist.ProcessGroup | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies of `shape(hidden @ weight.T + bias)`, holding C rows of logits at a time.

    Small batches keep theirs for the backward, see `MAX_KEPT_LOGITS_BYTES`.

    Args:
        hidden: `[T, D]`.
        weight: `[V, D]`, the dtype of `hidden`.
        labels: `[T]` integer, in [0, V).
        temperature: > 0.
        chunk_size: most rows of logits at a time (C), >= 1.
        bias: `[V]` or None.
        shape: what the head does to its logits.
        tp_group: ranks whose weights are the rows of one vocabulary, in equal parts; None: the rows are all of it.

    Returns:
        float32 `[T]` log-probs and float32 `[T]` entropies, both differentiable in hidden, weight and bias. Rows whose
        upstream gradients are exactly zero (prompts, rejected samples) cost nothing in the backward.
    """
    _check(hidden.shape[0], labels, temperature, chunk_size)
    head = _Head(float(temperature), shape, VocabShard.of(tp_group, weight.shape[0]))
    return _LinearLogprobs.apply(hidden, weight, bias, labels.long(), head, chunk_size, True)


def _check(num_rows: int, labels: Tensor, temperature: float, chunk_size: int) -> None:
    if labels.shape != (num_rows,):
        raise ValueError(f"expected one label for each of {num_rows} rows, got labels of shape {tuple(labels.shape)}")
    if temperature <= 0.0:
        raise ValueError(f"expected temperature > 0, got {temperature}; greedy decoding has no log-probs to train on")
    if chunk_size < 1:
        raise ValueError(f"expected chunk_size >= 1, got {chunk_size}")


def _stat_dtype(dtype: torch.dtype) -> torch.dtype:
    """Dtype of chunk arithmetic: float32, or float64 for float64 inputs (gradient checks)."""
    return torch.promote_types(dtype, torch.float32)


def _chunk_rows(chunk_size: int, like: Tensor, vocab_size: int) -> int:
    """Rows of a chunk: at most `chunk_size`, and on a CPU few enough that the passes over a chunk stay in its caches."""
    if like.device.type != "cpu":
        return chunk_size
    in_cache = _CPU_CHUNK_BYTES // (vocab_size * _stat_dtype(like.dtype).itemsize)
    return min(chunk_size, max(_MIN_CPU_ROWS, in_cache))


@dataclass(frozen=True)
class _Head:
    """What happens between the matrix product of a head and its softmax."""

    temperature: float
    shape: LogitShape
    shard: VocabShard | None

    def logits(self, hidden_CD: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Shaped logits divided by the temperature, `[C, V]` in the dtype of the statistics."""
        logits_CV = torch.nn.functional.linear(hidden_CD, weight, bias)
        z_CV = self.shape.apply_(logits_CV.to(_stat_dtype(logits_CV.dtype)))
        return z_CV if self.temperature == 1.0 else z_CV.div_(self.temperature)


class _GatherLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, temperature: float, chunk_size: int, shard: VocabShard | None
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.shard = shard
        chunk_size = _chunk_rows(chunk_size, logits, logits.shape[1])
        ctx.temperature, ctx.chunk_size = temperature, chunk_size
        logp, maximum, norm, entropy = _row_buffers(logits, 4)
        for start in range(0, logits.shape[0], chunk_size):
            rows = slice(start, start + chunk_size)
            z_CV = logits[rows].to(logp.dtype, copy=True).div_(temperature)
            logp[rows], maximum[rows], norm[rows], entropy_C = reduce_chunk(z_CV, labels[rows], True, shard)
            entropy[rows] = entropy_C
        ctx.save_for_backward(logits, labels, maximum, norm, entropy)
        return logp, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logp: Tensor | None, grad_entropy: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad_logp is None and grad_entropy is None:
            return (None,) * 5
        logits, labels, maximum, norm, entropy = ctx.saved_tensors
        stats = RowStats(
            labels, maximum, norm, entropy, grad_logp, grad_entropy, temperature=ctx.temperature, shard=ctx.shard
        )
        grad = torch.zeros_like(logits)
        for rows_C in stats.rows_with_gradient().split(ctx.chunk_size):
            z_CV = logits[rows_C].to(norm.dtype).div_(ctx.temperature).sub_(maximum[rows_C].unsqueeze(1))
            grad[rows_C] = stats.logit_grad(z_CV, rows_C).to(grad.dtype)
        return grad, None, None, None, None


class _LinearLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        head: _Head,
        chunk_size: int,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor | None]:
        ctx.set_materialize_grads(False)
        chunk_size = _chunk_rows(chunk_size, hidden, weight.shape[0])
        ctx.head, ctx.chunk_size = head, chunk_size
        logp, maximum, norm, entropy = _row_buffers(hidden, 4)
        keeps_logits = any(ctx.needs_input_grad[:3]) and _kept_bytes(hidden, weight) <= MAX_KEPT_LOGITS_BYTES
        kept: list[Tensor] = []
        for start in range(0, hidden.shape[0], chunk_size):
            rows = slice(start, start + chunk_size)
            z_CV = head.logits(hidden[rows], weight, bias)
            logp[rows], maximum[rows], norm[rows], entropy_C = reduce_chunk(
                z_CV, labels[rows], with_entropy, head.shard
            )
            if entropy_C is not None:
                entropy[rows] = entropy_C
            if keeps_logits:
                kept.append(z_CV)
        entropy = entropy if with_entropy else None
        ctx.save_for_backward(hidden, weight, bias, labels, maximum, norm, entropy, *kept)
        return logp, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logp: Tensor | None, grad_entropy: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad_logp is None and grad_entropy is None:
            return (None,) * 7
        hidden, weight, bias, labels, maximum, norm, entropy, *kept = ctx.saved_tensors
        head: _Head = ctx.head
        stats = RowStats(
            labels, maximum, norm, entropy, grad_logp, grad_entropy, head.temperature, head.shape, head.shard
        )
        grad_hidden = torch.zeros_like(hidden)
        # Sums over all tokens: float32 also for bfloat16 parameters.
        grad_weight = torch.zeros_like(weight, dtype=norm.dtype)
        grad_bias = None if bias is None else torch.zeros_like(bias, dtype=norm.dtype)
        rows = stats.rows_with_gradient()
        if kept:
            chunks = _kept_chunks(kept, rows)
        else:
            chunks = _recomputed_chunks(hidden, weight, bias, maximum, rows, head, ctx.chunk_size)
        for rows_C, z_CV in chunks:
            hidden_CD = hidden[rows_C]
            grad_CV = stats.logit_grad(z_CV, rows_C)
            if grad_bias is not None:
                grad_bias += grad_CV.sum(dim=0)
            grad_CV = grad_CV.to(hidden.dtype)
            grad_hidden[rows_C] = grad_CV @ weight
            if grad_weight.dtype == grad_CV.dtype:
                grad_weight.addmm_(grad_CV.t(), hidden_CD)
            else:
                grad_weight += grad_CV.t() @ hidden_CD
        grad_bias = None if bias is None or grad_bias is None else grad_bias.to(bias.dtype)
        return grad_hidden, grad_weight.to(weight.dtype), grad_bias, None, None, None, None


def _kept_chunks(kept: list[Tensor], rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows that have a gradient, chunk by chunk as kept by the forward, with copies of their z - maximum."""
    start = 0
    for z_CV in kept:
        stop = start + z_CV.shape[0]
        rows_C = rows[(rows >= start) & (rows < stop)]
        if rows_C.numel():
            yield rows_C, z_CV[rows_C - start]
        start = stop


def _recomputed_chunks(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    maximum: Tensor,
    rows: Tensor,
    head: _Head,
    chunk_size: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows that have a gradient, in full chunks, with their z - maximum."""
    for rows_C in rows.split(chunk_size):
        z_CV = head.logits(hidden[rows_C], weight, bias)
        yield rows_C, z_CV.sub_(maximum[rows_C].unsqueeze(1))


def _row_buffers(like: Tensor, count: int) -> tuple[Tensor, ...]:
    """Uninitialised statistics, one value a row each."""
    return tuple(like.new_empty(like.shape[0], dtype=_stat_dtype(like.dtype)) for _ in range(count))


def _kept_bytes(hidden: Tensor, weight: Tensor) -> int:
    return hidden.shape[0] * weight.shape[0] * _stat_dtype(hidden.dtype).itemsize
