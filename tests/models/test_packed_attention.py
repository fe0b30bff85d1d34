# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor

from areal.models.packed_attention import dense
from areal.models.packed_attention.dense import dense_packed_attention
from areal.models.packed_attention.layout import MIN_FILL, SHORT_LENGTH, PackedLayout, bucket_sequences
from tests.fake_cuda import fake_cuda

HEAD_SIZE = 8


def _reference(q: Tensor, k: Tensor, v: Tensor, seq_lens: list[int], scale: float, window: int | None) -> Tensor:
    """One sequence and one head at a time, straight from the definition."""
    outputs = []
    start = 0
    for length in seq_lens:
        rows = slice(start, start + length)
        heads = []
        for head in range(q.shape[1]):
            kv_head = head * k.shape[1] // q.shape[1]
            scores = scale * q[rows, head] @ k[rows, kv_head].t()
            offset = torch.arange(length)[:, None] - torch.arange(length)[None, :]
            hidden = (offset < 0) | (offset >= (window or length))
            heads.append(scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v[rows, kv_head])
        outputs.append(torch.stack(heads, dim=1))
        start += length
    return torch.cat(outputs)


def _qkv(num_tokens: int, num_heads: int, num_kv_heads: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(num_tokens)
    shapes = [(num_tokens, heads, HEAD_SIZE) for heads in (num_heads, num_kv_heads, num_kv_heads)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("heads", [(2, 2), (6, 3), (4, 1)])
@pytest.mark.parametrize("window", [None, 1, 5])
@pytest.mark.parametrize("seq_lens", [[1], [3, 9, 1, 40, 38, 33, 2], [35] * 3])
def test_dense_packed_attention_any_layout_matches_definition(
    seq_lens: list[int], window: int | None, heads: tuple[int, int]
):
    qkv = _qkv(sum(seq_lens), *heads)
    grad = torch.randn_like(qkv[0])
    got = dense_packed_attention(*qkv, PackedLayout.from_lengths(seq_lens), scale=0.3, window=window)
    expected = _reference(*qkv, seq_lens, 0.3, window)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)
    for ours, theirs in zip(torch.autograd.grad(got, qkv, grad), torch.autograd.grad(expected, qkv, grad)):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("seq_lens", [[20], [20, 3, 5, 30, 17, 4], [4, 18, 6]])
def test_dense_packed_attention_long_sequences_match_definition(
    monkeypatch: pytest.MonkeyPatch, seq_lens: list[int], window: int | None
):
    monkeypatch.setattr(dense, "MAX_DENSE_LENGTH", 16)
    dense._additive_mask.cache_clear()
    qkv = _qkv(sum(seq_lens), 4, 2)
    grad = torch.randn_like(qkv[0])
    got = dense_packed_attention(*qkv, PackedLayout.from_lengths(seq_lens), window=window)
    dense._additive_mask.cache_clear()
    expected = _reference(*qkv, seq_lens, HEAD_SIZE**-0.5, window)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)
    for ours, theirs in zip(torch.autograd.grad(got, qkv, grad), torch.autograd.grad(expected, qkv, grad)):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_dense_packed_attention_bfloat16_stays_near_float32():
    seq_lens = [5, 40, 33]
    qkv = _qkv(sum(seq_lens), 4, 2, torch.bfloat16)
    layout = PackedLayout.from_lengths(seq_lens)
    exact = dense_packed_attention(*(x.float() for x in qkv), layout)
    got = dense_packed_attention(*qkv, layout)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), exact, rtol=2e-2, atol=2e-2)


def test_bucket_sequences_every_sequence_once_and_well_filled():
    seq_lens = tuple(int(x) for x in torch.randint(1, 500, (300,), generator=torch.Generator().manual_seed(0)))
    groups = bucket_sequences(seq_lens, num_heads=6)
    assert sorted(index for group in groups for index in group) == list(range(300))
    for group in groups:
        lengths = [seq_lens[index] for index in group]
        assert lengths[0] == max(lengths)
        assert min(lengths) >= MIN_FILL * lengths[0] or lengths[0] <= SHORT_LENGTH


def test_packed_layout_no_sequences_raises_with_the_lengths():
    with pytest.raises(ValueError, match=r"at least one token, got lengths \[3, 0\]"):
        PackedLayout.from_lengths([3, 0])


def test_long_sequences_on_a_gpu_give_sdpa_equal_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []

    def sdpa(q: Tensor, k: Tensor, v: Tensor, **options: object) -> Tensor:
        shapes.append((q.shape, k.shape, v.shape))
        return q

    monkeypatch.setattr(dense.F, "scaled_dot_product_attention", sdpa)
    with fake_cuda():
        q, k, v = (torch.empty(900, heads, HEAD_SIZE, device="cuda:0") for heads in (4, 2, 2))
        dense_packed_attention(q, k, v, PackedLayout.from_lengths([900], "cuda:0"))
    assert shapes == [((1, 4, 900, HEAD_SIZE),) * 3]
