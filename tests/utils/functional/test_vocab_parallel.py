# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Log-probs over a vocabulary that is cut over ranks, and with shaped logits, against autograd on the whole in float64."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from areal.utils.functional import logprobs, vocab_parallel
from areal.utils.functional.logit_rows import LogitShape
from tests.distributed import run_ranks

T, D, V = 11, 6, 10
SHAPES = [LogitShape(), LogitShape(scale=0.5), LogitShape(scale=1.5, softcap=2.0)]


def _case(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Hidden states, weight, bias, labels, and weights of the log-probs and entropies in a loss."""
    generator = torch.Generator().manual_seed(3)
    hidden, weight, bias, coefficients = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        for shape in ((T, D), (V, D), (V,), (2, T))
    )
    coefficients[:, 2] = 0.0  # a row without gradient
    return hidden, weight, bias, torch.randint(V, (T,), generator=generator), coefficients


def _reference(shape: LogitShape, temperature: float) -> list[Tensor]:
    hidden, weight, bias, labels, coefficients = _case(torch.float64)
    leaves = [tensor.requires_grad_() for tensor in (hidden, weight, bias)]
    logits = (hidden @ weight.T + bias) * shape.scale
    if shape.softcap is not None:
        logits = shape.softcap * torch.tanh(logits / shape.softcap)
    log_p = torch.log_softmax(logits / temperature, dim=-1)
    logp, entropy = log_p.gather(1, labels[:, None]).squeeze(1), -(log_p.exp() * log_p).sum(-1)
    grads = torch.autograd.grad((coefficients * torch.stack([logp, entropy])).sum(), leaves)
    return [logp.detach(), entropy.detach(), *grads]


def _fused(shape: LogitShape, temperature: float, group: dist.ProcessGroup | None, dtype: torch.dtype) -> list[Tensor]:
    """Results and gradients of the fused head on this rank's rows of the vocabulary; hidden's gradient is summed."""
    hidden, weight, bias, labels, coefficients = _case(dtype)
    if group is not None:
        weight, bias = (tensor.chunk(group.size())[group.rank()].clone() for tensor in (weight, bias))
    leaves = [tensor.requires_grad_() for tensor in (hidden, weight, bias)]
    outputs = logprobs.linear_logprobs_entropy(
        hidden, weight, labels, temperature, chunk_size=4, bias=bias, shape=shape, tp_group=group
    )
    grads = torch.autograd.grad((coefficients * torch.stack(outputs)).sum(), leaves)
    if group is not None:
        dist.all_reduce(grads[0], group=group)
    return [output.detach() for output in outputs] + list(grads)


@pytest.mark.parametrize("keeps_logits", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shaped_logits_give_the_gradients_of_autograd(
    shape: LogitShape, keeps_logits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not keeps_logits:
        monkeypatch.setattr(logprobs, "MAX_KEPT_LOGITS_BYTES", 0)
    for got, expected in zip(_fused(shape, 0.7, None, torch.float64), _reference(shape, 0.7), strict=True):
        torch.testing.assert_close(got, expected)


def _fused_on_rank(rank: int, world_size: int, shape: LogitShape) -> list[Tensor]:
    return _fused(shape, 0.7, dist.group.WORLD, torch.float64)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_vocabulary_cut_over_two_ranks_gives_what_one_rank_gives(shape: LogitShape) -> None:
    logp, entropy, hidden, weight, bias = _reference(shape, 0.7)
    for rank, got in enumerate(run_ranks(_fused_on_rank, 2, shape)):
        own = slice(rank * V // 2, (rank + 1) * V // 2)
        for value, expected in zip(got, (logp, entropy, hidden, weight[own], bias[own]), strict=True):
            torch.testing.assert_close(value, expected)


def _gathered_on_rank(rank: int, world_size: int) -> list[Tensor]:
    hidden, weight, bias, labels, coefficients = _case(torch.float64)
    logits = (hidden @ weight.T + bias).chunk(world_size, dim=1)[rank].clone().requires_grad_()
    outputs = vocab_parallel.gather_logprobs_entropy(logits, labels, 0.7, dist.group.WORLD, chunk_size=4)
    only = vocab_parallel.gather_logprobs(logits, labels, 0.7, dist.group.WORLD)
    grad = torch.autograd.grad((coefficients * torch.stack(outputs)).sum(), logits)[0]
    return [output.detach() for output in (*outputs, only)] + [grad]


def test_logits_cut_over_two_ranks_give_what_whole_logits_give() -> None:
    hidden, weight, bias, labels, coefficients = _case(torch.float64)
    logits = (hidden @ weight.T + bias).requires_grad_()
    outputs = logprobs.gather_logprobs_entropy(logits, labels, 0.7)
    grad = torch.autograd.grad((coefficients * torch.stack(outputs)).sum(), logits)[0]
    for rank, got in enumerate(run_ranks(_gathered_on_rank, 2)):
        expected = (*outputs, outputs[0], grad.chunk(2, dim=1)[rank])
        for value, reference in zip(got, expected, strict=True):
            torch.testing.assert_close(value, reference.detach())
