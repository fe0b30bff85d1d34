# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Softmax statistics and gradients of a chunk of logit rows: the arithmetic that `logprobs` runs chunk by chunk.

For logits l the model's head shapes s(l) = c·tanh(a·l / c) (scale a, soft cap c), and z = s(l) / temperature. With
p = softmax(z) and label y:
    logp = z_y - logsumexp(z),            d logp / dz_v = 1[v = y] - p_v
    H    = logsumexp(z) - sum_v p_v z_v,  d H / dz_v    = -p_v (log p_v + H)
    dz / dl = a · (1 - (s / c)²) / temperature
The columns may be one rank's part of the vocabulary (`VocabShard`): then maxima and sums are reduced over its group.
Shapes: T tokens, V columns (of this rank), C rows of a chunk. Must never keep a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

Rows = Tensor | slice
"""Some rows of a batch: int64 indices, or a stretch of them, which is read in place instead of copied."""


@dataclass(frozen=True)
class LogitShape:
    """What a head does to its logits, elementwise: softcap · tanh(scale · logit / softcap); no cap where it is None."""

    scale: float = 1.0
    softcap: float | None = None

    def apply_(self, logits: Tensor) -> Tensor:
        """Shape logits in place."""
        if self.scale != 1.0:
            logits.mul_(self.scale)
        if self.softcap is not None:
            logits.div_(self.softcap).tanh_().mul_(self.softcap)
        return logits


PLAIN = LogitShape()


@dataclass(frozen=True)
class VocabShard:
    """This rank's columns `[offset, offset + size)` of a vocabulary that is cut evenly over the ranks of a group."""

    group: dist.ProcessGroup
    offset: int
    size: int

    @classmethod
    def of(cls, group: dist.ProcessGroup | None, num_columns: int) -> VocabShard | None:
        """The shard of this rank; None where no group or one rank has the whole vocabulary."""
        if group is None or group.size() == 1:
            return None
        return cls(group, group.rank() * num_columns, num_columns)

    def localise(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Labels as columns of this rank (0 where they are not), and which are."""
        local = labels - self.offset
        owned = (local >= 0) & (local < self.size)
        return local.masked_fill(~owned, 0), owned


def reduce_chunk(
    z_CV: Tensor, labels_C: Tensor, with_entropy: bool, scratch_CV: Tensor, shard: VocabShard | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """logp, row maximum, log-normaliser after subtracting it, and entropy. Overwrites z with z - maximum (finite).

    `labels_C` are global indices; `scratch_CV` is memory like z's, whose content is lost: fresh memory of this size is
    mapped and zeroed by the system, which takes longer than the arithmetic. With a shard two collectives run: of the
    maxima, and of all sums together.
    """
    max_C1 = z_CV.amax(dim=-1, keepdim=True)
    if shard is not None:
        dist.all_reduce(max_C1, dist.ReduceOp.MAX, group=shard.group)
        labels_C, owned_C = shard.localise(labels_C)
    exp_CV = torch.exp(z_CV.sub_(max_C1), out=scratch_CV)
    sum_C = exp_CV.sum(dim=-1)
    target_C = z_CV.gather(1, labels_C.unsqueeze(1)).squeeze(1)
    dot_C = exp_CV.mul_(z_CV).sum(dim=-1) if with_entropy else None
    if shard is not None:
        sums = [sum_C, target_C.masked_fill(~owned_C, 0.0), *([] if dot_C is None else [dot_C])]
        reduced = torch.stack(sums)
        dist.all_reduce(reduced, group=shard.group)
        sum_C, target_C = reduced[0], reduced[1]
        dot_C = None if dot_C is None else reduced[2]
    norm_C = sum_C.log()
    entropy_C = None if dot_C is None else norm_C - dot_C / sum_C
    return target_C - norm_C, max_C1.squeeze(1), norm_C, entropy_C


@dataclass(frozen=True)
class RowStats:
    """What the backward knows of each row; `[T]` each, None where the output was not used. Labels are global."""

    labels: Tensor
    maximum: Tensor
    norm: Tensor
    entropy: Tensor | None
    grad_logp: Tensor | None
    grad_entropy: Tensor | None
    temperature: float
    shape: LogitShape = PLAIN
    shard: VocabShard | None = None

    def rows_with_gradient(self) -> Tensor:
        """Indices of the rows whose upstream gradient is not exactly zero."""
        grads = [grad for grad in (self.grad_logp, self.grad_entropy) if grad is not None]
        return torch.stack([grad != 0 for grad in grads]).any(dim=0).nonzero().squeeze(1)

    def logit_grad(self, z_CV: Tensor, rows_C: Rows, out_CV: Tensor) -> Tensor:
        """Gradient of the logits l of some rows from their z - maximum, written to `out_CV`, which may be `z_CV`."""
        slope_CV = self._slope(z_CV, rows_C)
        grad_CV = self._z_grad(z_CV, rows_C, out_CV)
        return grad_CV if slope_CV is None else grad_CV.mul_(slope_CV)

    def _slope(self, z_CV: Tensor, rows_C: Rows) -> Tensor | None:
        """1 - (s / c)² of the soft cap."""
        if self.shape.softcap is None:
            return None
        ratio_CV = (z_CV + self.maximum[rows_C].unsqueeze(1)).mul_(self.temperature / self.shape.softcap)
        return ratio_CV.square_().neg_().add_(1.0)

    def _z_grad(self, z_CV: Tensor, rows_C: Rows, out_CV: Tensor) -> Tensor:
        """Gradient of z times the constant part of dz / dl."""
        dz_dl = self.shape.scale / self.temperature
        log_p_CV = torch.sub(z_CV, self.norm[rows_C].unsqueeze(1), out=out_CV)
        factor_CV: Tensor | None = None
        if self.grad_entropy is not None and self.entropy is not None:
            factor_CV = log_p_CV + self.entropy[rows_C].unsqueeze(1)
            factor_CV.mul_(-dz_dl * self.grad_entropy[rows_C].unsqueeze(1))
        grad_CV = log_p_CV.exp_()
        if self.grad_logp is None:
            return grad_CV.mul_(factor_CV)
        grad_logp_C1 = dz_dl * self.grad_logp[rows_C].unsqueeze(1)
        grad_CV.mul_(-grad_logp_C1 if factor_CV is None else factor_CV.sub_(grad_logp_C1))
        labels_C = self.labels[rows_C]
        if self.shard is not None:
            labels_C, owned_C = self.shard.localise(labels_C)
            grad_logp_C1 = grad_logp_C1.masked_fill(~owned_C.unsqueeze(1), 0.0)
        return grad_CV.scatter_add_(1, labels_C.unsqueeze(1), grad_logp_C1)
