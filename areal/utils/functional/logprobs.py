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

from areal.utils.functional.logit_rows import PLAIN, LogitShape, Rows, RowStats, VocabShard, reduce_chunk

DEFAULT_CHUNK_SIZE = 1024
# The fused head keeps the logits of a batch for its backward when they take no more than this, in float32: recomputing
# them is a quarter of the head's work. It is 8 k tokens of a small vocabulary, and 440 of one with 152 k entries.
MAX_KEPT_LOGITS_BYTES = 256 << 20
# 16 MB of float32 lie in the last-level cache of a core and are reused by the allocator; 32 MB, 1,024 rows of a small
# vocabulary, are mapped and zeroed by the system anew each time, which made the head 1.2x slower.
_CPU_CHUNK_BYTES = 16 << 20
# Chunks with at least so many rows that have a gradient are worked on in place, with zeros for the others: only the last
# tokens of sequences have none in supervised batches, and copying the rest takes longer.
_DENSE_SHARE = 0.9
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

    def logits_(
        self, z_CV: Tensor, hidden_CD: Tensor, weight: Tensor, bias: Tensor | None, product: Tensor | None
    ) -> Tensor:
        """Write shaped logits divided by the temperature to `z_CV`, by way of `product` if the head has another dtype."""
        product_CV = z_CV if product is None else product[: z_CV.shape[0]]
        if bias is None:
            torch.mm(hidden_CD, weight.t(), out=product_CV)
        else:
            torch.addmm(bias, hidden_CD, weight.t(), out=product_CV)
        self.shape.apply_(z_CV if product is None else z_CV.copy_(product_CV))
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
        z_memory, scratch = _chunk_memory(logits, chunk_size, 2)
        for start in range(0, logits.shape[0], chunk_size):
            rows = slice(start, start + chunk_size)
            logits_CV = logits[rows]
            count = logits_CV.shape[0]
            z_CV = z_memory[:count].copy_(logits_CV).div_(temperature)
            logp[rows], maximum[rows], norm[rows], entropy_C = reduce_chunk(
                z_CV, labels[rows], True, scratch[:count], shard
            )
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
            grad[rows_C] = stats.logit_grad(z_CV, rows_C, z_CV).to(grad.dtype)
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
        (scratch,), product = _chunk_memory(hidden, chunk_size, 1, weight), _product_memory(hidden, chunk_size, weight)
        z_memory = None if keeps_logits else torch.empty_like(scratch)
        for start in range(0, hidden.shape[0], chunk_size):
            rows = slice(start, start + chunk_size)
            count = min(chunk_size, hidden.shape[0] - start)
            z_CV = torch.empty_like(scratch[:count]) if z_memory is None else z_memory[:count]
            head.logits_(z_CV, hidden[rows], weight, bias, product)
            logp[rows], maximum[rows], norm[rows], entropy_C = reduce_chunk(
                z_CV, labels[rows], with_entropy, scratch[:count], head.shard
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
        product = _product_memory(hidden, ctx.chunk_size, weight)
        if kept:
            chunks = _kept_chunks(kept, stats)
        else:
            chunks = _recomputed_chunks(hidden, weight, bias, product, stats, head, ctx.chunk_size)
        for rows_C, z_CV, out_CV in chunks:
            hidden_CD = hidden[rows_C]
            grad_CV = stats.logit_grad(z_CV, rows_C, out_CV)
            if grad_bias is not None:
                grad_bias += grad_CV.sum(dim=0)
            if product is not None:
                grad_CV = product[: grad_CV.shape[0]].copy_(grad_CV)
            grad_hidden[rows_C] = grad_CV @ weight
            if grad_weight.dtype == grad_CV.dtype:
                grad_weight.addmm_(grad_CV.t(), hidden_CD)
            else:
                grad_weight += grad_CV.t() @ hidden_CD
        grad_bias = None if bias is None or grad_bias is None else grad_bias.to(bias.dtype)
        return grad_hidden, grad_weight.to(weight.dtype), grad_bias, None, None, None, None


def _kept_chunks(kept: list[Tensor], stats: RowStats) -> Iterator[tuple[Rows, Tensor, Tensor]]:
    """Rows that have a gradient, chunk by chunk as kept by the forward: their z - maximum, and memory for the gradient."""
    rows = stats.rows_with_gradient()
    memory = torch.empty_like(kept[0])
    start = 0
    for z_CV in kept:
        stop = start + z_CV.shape[0]
        rows_C = rows[(rows >= start) & (rows < stop)]
        if rows_C.numel() >= _DENSE_SHARE * z_CV.shape[0]:
            yield slice(start, stop), z_CV, memory[: z_CV.shape[0]]
        elif rows_C.numel():
            some_CV = torch.index_select(z_CV, 0, rows_C - start, out=memory[: rows_C.numel()])
            yield rows_C, some_CV, some_CV
        start = stop


def _recomputed_chunks(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    product: Tensor | None,
    stats: RowStats,
    head: _Head,
    chunk_size: int,
) -> Iterator[tuple[Rows, Tensor, Tensor]]:
    """Rows that have a gradient, in full chunks, with their z - maximum in memory that the gradient may take."""
    (memory,) = _chunk_memory(hidden, chunk_size, 1, weight)
    for rows_C in stats.rows_with_gradient().split(chunk_size):
        z_CV = head.logits_(memory[: rows_C.numel()], hidden[rows_C], weight, bias, product)
        z_CV.sub_(stats.maximum[rows_C].unsqueeze(1))
        yield rows_C, z_CV, z_CV


def _chunk_memory(like: Tensor, chunk_size: int, count: int, weight: Tensor | None = None) -> tuple[Tensor, ...]:
    """Memory for chunks of logits in the dtype of statistics: `like` has the rows, and the columns if there is no head."""
    shape = (min(chunk_size, like.shape[0]), like.shape[1] if weight is None else weight.shape[0])
    return tuple(like.new_empty(shape, dtype=_stat_dtype(like.dtype)) for _ in range(count))


def _product_memory(hidden: Tensor, chunk_size: int, weight: Tensor) -> Tensor | None:
    """Memory for a chunk of logits in the dtype of a head that computes in 16 bits; None for others, who need none."""
    if hidden.dtype == _stat_dtype(hidden.dtype):
        return None
    return hidden.new_empty(min(chunk_size, hidden.shape[0]), weight.shape[0])


def _row_buffers(like: Tensor, count: int) -> tuple[Tensor, ...]:
    """Uninitialised statistics, one value a row each."""
    return tuple(like.new_empty(like.shape[0], dtype=_stat_dtype(like.dtype)) for _ in range(count))


def _kept_bytes(hidden: Tensor, weight: Tensor) -> int:
    return hidden.shape[0] * weight.shape[0] * _stat_dtype(hidden.dtype).itemsize
