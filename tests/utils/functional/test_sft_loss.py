# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import math

import torch

from areal.utils.functional import compute_packed_sft_loss


def test_sft_loss_by_hand_is_the_mean_over_trained_tokens():
    logprobs = torch.tensor([-1.0, -2.0, -99.0, -3.0, -99.0], requires_grad=True)
    batch = {"loss_mask": torch.tensor([1, 1, 0, 1, 0]), "cu_seqlens": torch.tensor([0, 3, 5])}
    loss, stats = compute_packed_sft_loss(logprobs, torch.zeros(5), batch)
    loss.backward()
    assert float(loss.detach()) == 2.0
    torch.testing.assert_close(logprobs.grad, torch.tensor([-1 / 3, -1 / 3, 0.0, -1 / 3, 0.0]))
    torch.testing.assert_close(stats["ppl"], torch.tensor([math.exp(1.5), math.exp(3.0)]))
    assert stats["seq_mask"].tolist() == [True, True]


def test_sft_loss_of_nothing_to_train_is_zero_and_differentiable():
    logprobs = torch.tensor([-math.inf, -1.0], requires_grad=True)
    batch = {"loss_mask": torch.zeros(2), "cu_seqlens": torch.tensor([0, 2])}
    loss, _ = compute_packed_sft_loss(logprobs, torch.zeros(2), batch)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(logprobs.grad, torch.zeros(2))
