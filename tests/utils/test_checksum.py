# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib

import pytest
import torch

from areal.utils.checksum import weights_checksum


def test_checksum_is_independent_of_order_and_strides() -> None:
    a, b = torch.randn(3, 4), torch.arange(5)

    assert weights_checksum([("a", a), ("b", b)]) == weights_checksum([("b", b), ("a", a.t().contiguous().t())])


def test_checksum_of_one_tensor_equals_sha256_by_hand() -> None:
    inner = hashlib.sha256(b"w\0float32\0(2,)\0" + b"\x00\x00\x80\x3f\x00\x00\x00\x40").digest()

    assert weights_checksum([("w", torch.tensor([1.0, 2.0]))]) == hashlib.sha256(inner).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        ("v", torch.ones(2, 3)),
        ("w", torch.ones(3, 2)),
        ("w", torch.ones(2, 3, dtype=torch.bfloat16)),
        ("w", torch.ones(2, 3).index_fill(0, torch.tensor([1]), 1.0000001)),
    ],
)
def test_checksum_sees_name_shape_dtype_and_every_byte(other: tuple[str, torch.Tensor]) -> None:
    assert weights_checksum([("w", torch.ones(2, 3))]) != weights_checksum([other])


def test_checksum_of_scalars_and_empty_tensors_is_defined() -> None:
    assert weights_checksum([("s", torch.tensor(1.0)), ("e", torch.zeros(0, 4))])


def test_checksum_refuses_a_name_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        weights_checksum([("w", torch.ones(1)), ("w", torch.ones(1))])
