# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a parallel model returns, and gradients of losses that every rank computes alike from gathered outputs."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.parallelize import parallelize_decoder
from areal.experimental.models.archon.parallel.ulysses import gather_outputs, slice_inputs
from tests.distributed import run_ranks
from tests.experimental.models.archon.parallel.cases import DENSE, VOCAB, full_state, make_batch, make_model, sliced

ODD = torch.arange(VOCAB) % 2


def _logits(rank: int, world_size: int, loss_parallel: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits without labels, and gradients of a loss over whole logits if there are any."""
    dims = ArchonParallelDims(tp=2, world_size=world_size)
    model = parallelize_decoder(make_model(DENSE), dims, param_dtype=torch.float32, loss_parallel=loss_parallel)
    batch = make_batch(0)
    logits = model(batch.tokens, batch.positions, batch.cu_seqlens, batch.max_seqlen)
    if not loss_parallel:
        (logits.square() * ODD).sum().backward()
    grads = {name: param.grad.full_tensor() for name, param in model.named_parameters() if param.grad is not None}
    dist.barrier()
    return logits.detach(), grads


def test_logits_are_cut_over_the_vocabulary_with_loss_parallelism_and_whole_without() -> None:
    model, batch = make_model(DENSE), make_batch(0)
    expected = model(batch.tokens, batch.positions, batch.cu_seqlens, batch.max_seqlen)
    (expected.square() * ODD).sum().backward()
    for rank, (logits, grads) in enumerate(run_ranks(_logits, 2, True)):
        torch.testing.assert_close(logits, expected.chunk(2, dim=-1)[rank].detach(), rtol=1e-5, atol=1e-5)
        assert not grads
    for logits, grads in run_ranks(_logits, 2, False):
        torch.testing.assert_close(logits, expected.detach(), rtol=1e-5, atol=1e-5)
        for name, param in model.named_parameters():
            torch.testing.assert_close(grads[name], param.grad, rtol=1e-4, atol=1e-4, msg=name)


def _gathered(rank: int, world_size: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Scores of all tokens on every context-parallel rank; gradients of one loss over them."""
    dims = ArchonParallelDims(tp=2, cp=2, world_size=world_size)
    model = parallelize_decoder(make_model(DENSE), dims, param_dtype=torch.float32)
    whole = make_batch(0)
    batch = sliced(whole, dims)
    own = model(batch.tokens, batch.positions, batch.cu_seqlens, batch.max_seqlen, labels=batch.labels)
    scores = gather_outputs(own, dims.get_group("cp"))
    (scores * whole.loss_weights).square().sum().backward()  # not a sum over tokens' own losses
    grads = {name: param.grad.full_tensor() for name, param in model.named_parameters()}
    dist.barrier()
    return scores.detach(), grads


def test_loss_over_gathered_scores_has_the_gradients_of_one_process() -> None:
    model, batch = make_model(DENSE), make_batch(0)
    expected = model(batch.tokens, batch.positions, batch.cu_seqlens, batch.max_seqlen, labels=batch.labels)
    (expected * batch.loss_weights).square().sum().backward()
    assert full_state(model).keys() == {name for name, _ in model.named_parameters()}
    for scores, grads in run_ranks(_gathered, 4):
        torch.testing.assert_close(scores, expected.detach(), rtol=1e-5, atol=1e-5)
        for name, param in model.named_parameters():
            torch.testing.assert_close(grads[name], param.grad, rtol=1e-5, atol=1e-5, msg=name)


def test_tokens_that_do_not_divide_are_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match="divisible by cp = 2, got 5"):
        slice_inputs(torch.zeros(1, 5), 0, 2)


def _odd_tokens(rank: int, world_size: int) -> str:
    model = parallelize_decoder(make_model(DENSE), ArchonParallelDims(tp=2, world_size=2), param_dtype=torch.float32)
    batch = make_batch(0, (5,))
    with pytest.raises(ValueError, match="divisible") as refusal:
        model(batch.tokens, batch.positions, batch.cu_seqlens, batch.max_seqlen)
    return str(refusal.value)


def test_tokens_that_tensor_parallel_ranks_cannot_share_are_refused_on_each() -> None:
    for message in run_ranks(_odd_tokens, 2):
        assert "2 ranks of a group, got 5" in message
