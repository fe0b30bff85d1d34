# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import torch

from areal.api.cli_args import MicroBatchSpec
from areal.engine.core.accumulate import micro_batch_weights
from areal.utils.data import MicroBatchList
from tests.fake_cuda import fake_cuda


def _micro_batches(device: str, num_dummies: int) -> MicroBatchList:
    mbs = [{"input_ids": torch.zeros(count, device=device)} for count in (3, 5, 1)]
    return MicroBatchList({}, MicroBatchSpec(), mbs, [3, 5, 0], [0, 1], [0, 1], frozenset({"input_ids"}), num_dummies)


def test_micro_batch_weights_are_zero_for_dummies() -> None:
    weights = micro_batch_weights(_micro_batches("cpu", 1), lambda mb: len(mb["input_ids"]))
    assert weights.tolist() == [3.0, 5.0, 0.0] and weights.dtype == torch.float64


def test_micro_batch_weights_of_a_gpu_and_of_dummies_meet_on_it() -> None:
    with fake_cuda() as watch:
        weights = micro_batch_weights(_micro_batches("cuda", 1), lambda mb: (mb["input_ids"] == 0).sum())
    assert weights.device.type == "cpu" and weights.shape == (3,)
    assert sum(watch.waits.values()) == 1
