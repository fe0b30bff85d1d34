# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from areal.utils.data import (
    amend_position_ids,
    pack_tensor_dict,
    pad_packed_tensor_dict,
    to_prediction_alignment,
    unpack_sequence,
    unpad_logits,
)
from tests.utils.data.conftest import make_batch

lengths_lists = st.lists(st.integers(1, 9), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(lengths=lengths_lists, extra=st.integers(0, 3))
def test_pack_tensor_dict_equals_concatenated_prefixes(lengths: list[int], extra: int) -> None:
    batch = make_batch(lengths, width=max(lengths) + extra)
    packed = pack_tensor_dict(batch)
    for key in ("input_ids", "logprobs", "loss_mask"):
        assert torch.equal(packed[key], torch.cat([row[:n] for row, n in zip(batch[key], lengths, strict=True)]))
    assert torch.equal(packed["rewards"], batch["rewards"])
    assert packed["cu_seqlens"].dtype == torch.int32
    assert packed["cu_seqlens"].tolist() == [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    assert packed["max_seqlen"] == max(lengths)
    assert "attention_mask" not in packed
    pieces = unpack_sequence(packed["input_ids"], cu_seqlens=packed["cu_seqlens"])
    assert [len(piece) for piece in pieces] == lengths


def test_pack_tensor_dict_square_batch_keeps_sequence_entries() -> None:
    # 4 sequences of up to 4 tokens: element counts alone could not tell [B] from anything per token.
    packed = pack_tensor_dict(make_batch([4, 4, 4, 4]))
    assert packed["rewards"].shape == (4,)
    assert packed["logprobs"].shape == (16,)


def test_pack_tensor_dict_left_padding_raises() -> None:
    batch = make_batch([2, 3])
    batch["attention_mask"] = batch["attention_mask"].flip(1)
    with pytest.raises(ValueError, match="right padding"):
        pack_tensor_dict(batch)


def test_unpack_sequence_without_lengths_raises() -> None:
    with pytest.raises(ValueError, match="needs cu_seqlens or lens"):
        unpack_sequence(torch.ones(3))


def test_unpack_sequence_lens_and_dim_split_that_dim() -> None:
    assert [tuple(x.shape) for x in unpack_sequence(torch.ones(2, 5), lens=[2, 3], dim=1)] == [(2, 2), (2, 3)]


def test_to_prediction_alignment_shifts_left_and_never_wraps() -> None:
    x = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert to_prediction_alignment(x).tolist() == [[2, 3, 0], [5, 6, 0]]
    assert to_prediction_alignment(x, fill=-1).tolist() == [[2, 3, -1], [5, 6, -1]]
    assert x.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_amend_position_ids_counts_each_row_and_leaves_the_input() -> None:
    batch = make_batch([2, 3])
    assert amend_position_ids(batch)["position_ids"].tolist() == [[0, 1, 2], [0, 1, 2]]
    assert "position_ids" not in batch


@settings(max_examples=60, deadline=None)
@given(lengths=lengths_lists, extra=st.integers(0, 10), align=st.sampled_from([None, 2, 4]))
def test_pad_packed_tensor_dict_and_unpad_logits_are_inverse(lengths: list[int], extra: int, align: int | None) -> None:
    packed = pack_tensor_dict(amend_position_ids(make_batch(lengths)))
    keys = {"input_ids", "logprobs", "loss_mask", "position_ids"}
    total = sum(lengths)
    padded, pad_length, old, aligned = pad_packed_tensor_dict(packed, total + extra, -3, align, token_keys=keys)
    cu = padded["cu_seqlens"].tolist()
    assert cu[-1] == aligned + pad_length >= total + extra
    assert len(padded["logprobs"]) == cu[-1]
    assert all(bound % (align or 1) == 0 for bound in cu[:-1])
    for i, length in enumerate(lengths):
        start = cu[i]
        assert torch.equal(padded["logprobs"][start : start + length], packed["logprobs"][old[i] : old[i + 1]])
        assert (padded["logprobs"][start + length : cu[i + 1]] == -3).all()
        assert padded["position_ids"][start : cu[i + 1]].tolist() == list(range(cu[i + 1] - start))
    restored = unpad_logits(padded["logprobs"], pad_length, padded["cu_seqlens"], old)
    assert torch.equal(restored, packed["logprobs"])


def test_pad_packed_tensor_dict_too_short_target_raises_with_both_numbers() -> None:
    with pytest.raises(ValueError, match="cannot pad 5 tokens to 4"):
        pad_packed_tensor_dict(pack_tensor_dict(make_batch([2, 3])), 4)


def test_pad_packed_tensor_dict_one_token_sequences_need_token_keys() -> None:
    packed = pack_tensor_dict(make_batch([1, 1]))
    with pytest.raises(ValueError, match="pass token_keys"):
        pad_packed_tensor_dict(packed, 4)
    padded, *_ = pad_packed_tensor_dict(packed, 4, token_keys={"input_ids", "logprobs", "loss_mask"})
    assert padded["rewards"].shape == (2,)
    assert padded["input_ids"].shape == (4,)
