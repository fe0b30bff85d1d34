# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from areal.experimental.models.archon.weights.ops import (
    Chain,
    GroupedSplit,
    Interleave,
    Join,
    Op,
    Split,
    Stack,
    Transpose,
    Unsqueeze,
)

# op, shapes of ours, shapes of HF's
OPS: list[tuple[Op, list[tuple[int, ...]], list[tuple[int, ...]]]] = [
    (Split(), [(4, 3), (2, 3), (2, 3)], [(8, 3)]),
    (Split(dim=1), [(2, 4, 3), (2, 4, 3)], [(2, 8, 3)]),
    (Interleave(1), [(2, 4, 3), (2, 4, 3)], [(2, 8, 3)]),
    (GroupedSplit(2), [(4, 3), (2, 3)], [(6, 3)]),
    (GroupedSplit(2, ((2, 2, 4), (4,))), [(8, 3), (4, 3)], [(12, 3)]),
    (Join((4, 2)), [(6, 3)], [(4, 3), (2, 3)]),
    (Stack(), [(3, 4, 2)], [(4, 2)] * 3),
    (Transpose(1, 2), [(2, 4, 3)], [(2, 3, 4)]),
    (Unsqueeze(1), [(4, 3)], [(4, 1, 3)]),
    (Chain((Transpose(1, 2), Interleave(1))), [(2, 4, 3), (2, 4, 3)], [(2, 3, 8)]),
]


@pytest.mark.parametrize(("op", "ours", "hf"), OPS)
def test_op_there_and_back_changes_nothing(op, ours, hf):
    tensors = [torch.randn(shape) for shape in hf]
    there = op.to_ours(list(tensors), ours)
    assert [tuple(t.shape) for t in there] == ours
    back = op.to_hf(list(there))
    assert all(torch.equal(a, b) for a, b in zip(back, tensors, strict=True))
    again = op.to_ours(list(back), ours)
    assert all(torch.equal(a, b) for a, b in zip(again, there, strict=True))


@pytest.mark.parametrize(("op", "ours", "hf"), OPS)
def test_op_on_meta_tensors_gives_the_shapes(op, ours, hf):
    there = op.to_ours([torch.empty(shape, device="meta") for shape in hf], ours)
    assert [tuple(t.shape) for t in there] == ours
    assert [tuple(t.shape) for t in op.to_hf(there)] == hf


def test_grouped_split_takes_a_share_of_each_part_from_each_group():
    # two groups of [q | k | v v | z z]; ours is [q q | k k | v v v v] and [z z z z]
    hf = torch.tensor([0, 10, 20, 21, 30, 31, 1, 11, 22, 23, 32, 33])[:, None]
    qkv, z = GroupedSplit(2, ((2, 2, 4), (4,))).to_ours([hf], [(8, 1), (4, 1)])
    assert qkv.flatten().tolist() == [0, 1, 10, 11, 20, 21, 22, 23]
    assert z.flatten().tolist() == [30, 31, 32, 33]


def test_interleave_gives_even_rows_to_the_first():
    even, odd = Interleave(0).to_ours([torch.arange(4)], [(2,), (2,)])
    assert (even.tolist(), odd.tolist()) == ([0, 2], [1, 3])
