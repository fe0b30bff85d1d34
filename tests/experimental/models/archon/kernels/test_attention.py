# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor

from areal.experimental.models.archon.kernels.attention import Packing, choose_kernel, packed_attention
from areal.experimental.models.archon.kernels.reference import masked_attention, visibility
from areal.experimental.models.archon.kernels.varlen import varlen_attention
from areal.experimental.models.archon.model_args import ScoreArgs
from areal.models.packed_attention import blocked, dense
from areal.models.packed_attention.layout import PackedLayout
from areal.models.packed_attention.sharing import find_shared_prefixes
from areal.utils.errors import ConfigError
from tests.models.flash_on_cpu import use_flash_on_cpu

SCORES = {
    "plain": ScoreArgs(scale=0.4),
    "window": ScoreArgs(scale=0.4, window=5),
    "softcap": ScoreArgs(scale=2.0, softcap=1.5),
    "sinks": ScoreArgs(scale=0.4, sinks=True),
    "chunk": ScoreArgs(scale=0.4, chunk=6),
    "all": ScoreArgs(scale=1.0, window=4, chunk=7, softcap=2.0, sinks=True),
}
LENGTHS = (3, 19, 1, 40, 38, 6)


def _inputs(num_tokens: int, sinks: bool, value_dim: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(num_tokens)
    shapes = [(num_tokens, 4, 8), (num_tokens, 2, 8), (num_tokens, 2, value_dim), *([(4,)] if sinks else [])]
    return [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]


def _packing(lengths: tuple[int, ...]) -> Packing:
    layout = PackedLayout.from_lengths(list(lengths))
    return Packing(layout.cu_seqlens, layout.max_seqlen)


def _assert_same(got: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)
    grad = torch.randn_like(got)
    for ours, theirs in zip(torch.autograd.grad(got, inputs, grad), torch.autograd.grad(expected, inputs, grad)):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.fixture(params=["buckets", "blocks"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short sequences in buckets; or all but the shortest as long ones, in several blocks each."""
    if request.param == "blocks":
        monkeypatch.setattr(dense, "MAX_DENSE_LENGTH", 4)
        monkeypatch.setattr(blocked, "MAX_BLOCK_ROWS", 7)
    dense._additive_mask.cache_clear()
    yield
    dense._additive_mask.cache_clear()


@pytest.mark.parametrize("name", SCORES)
def test_packed_attention_any_need_matches_masked_reference(name: str, path: None) -> None:
    score = SCORES[name]
    q, k, v, *sinks = inputs = _inputs(sum(LENGTHS), score.sinks)
    sink = sinks[0] if sinks else None
    got = packed_attention(q, k, v, _packing(LENGTHS), score, sink)
    expected = masked_attention(q, k, v, visibility(LENGTHS, score.window, score.chunk), score, sink)
    _assert_same(got, expected, inputs)


@pytest.mark.parametrize("name", ["plain", "window", "softcap", "sinks"])
def test_packed_attention_shared_prefixes_equals_separate_sequences(name: str, path: None) -> None:
    score = SCORES[name]
    prompt = torch.arange(12)
    ids = torch.cat([prompt, torch.tensor([90, 91]), prompt, torch.arange(50, 73), torch.arange(30, 41)])
    lengths = (14, 35, 11)
    shared = find_shared_prefixes(ids, lengths)
    assert shared is not None and shared.prefix_lens == (0, 12, 0)
    layout = PackedLayout.from_lengths(list(lengths), shared=shared)
    q, k, v, *sinks = inputs = _inputs(layout.num_tokens, score.sinks)
    sink = sinks[0] if sinks else None

    got = packed_attention(q, k, v, Packing(layout.cu_seqlens, layout.max_seqlen, layout), score, sink)

    each = [x[shared.token_rows] for x in (q, k, v)]
    expected = masked_attention(*each, visibility(lengths, score.window), score, sink)[shared.first_tokens]
    _assert_same(got, expected, inputs)


def test_packed_attention_bfloat16_stays_near_float32() -> None:
    score = SCORES["all"]
    inputs = [x.detach().bfloat16() for x in _inputs(sum(LENGTHS), True)]
    got = packed_attention(*inputs[:3], _packing(LENGTHS), score, inputs[3])
    exact = packed_attention(*(x.float() for x in inputs[:3]), _packing(LENGTHS), score, inputs[3].float())
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), exact, rtol=2e-2, atol=2e-2)


def test_packed_attention_empty_sequences_are_skipped() -> None:
    q, k, v = _inputs(5, False)
    holes = Packing(torch.tensor([0, 0, 3, 3, 5, 5], dtype=torch.int32), 3)
    got = packed_attention(q, k, v, holes, SCORES["plain"], None)
    torch.testing.assert_close(got, packed_attention(q, k, v, _packing((3, 2)), SCORES["plain"], None))


def test_packed_attention_wrong_number_of_tokens_raises() -> None:
    with pytest.raises(ValueError, match="cu_seqlens covers, 5, got 6"):
        packed_attention(*_inputs(6, False), _packing((3, 2)), SCORES["plain"], None)


def test_choose_kernel_chunks_of_shared_prefixes_are_refused() -> None:
    with pytest.raises(ConfigError, match="chunks of 6"):
        choose_kernel(SCORES["chunk"], 8, "cpu", torch.float32, shares_prefixes=True)


@pytest.mark.parametrize(
    ("name", "head_dim", "dtype", "is_flash"),
    [
        ("window", 128, torch.bfloat16, True),
        ("sinks", 64, torch.float16, True),
        ("softcap", 64, torch.bfloat16, False),
        ("plain", 512, torch.bfloat16, False),
        ("plain", 64, torch.float32, False),
    ],
)
def test_choose_kernel_on_cuda_takes_flash_where_it_computes_the_need(
    name: str, head_dim: int, dtype: torch.dtype, is_flash: bool
) -> None:
    kernel = choose_kernel(SCORES[name], head_dim, "cuda", dtype, shares_prefixes=False)
    assert (kernel is varlen_attention) == is_flash


@pytest.mark.parametrize("value_dim", [8, 5])
@pytest.mark.parametrize("name", ["plain", "window", "sinks", "chunk"])
def test_varlen_attention_matches_masked_reference(name: str, value_dim: int) -> None:
    use_flash_on_cpu()
    score, lengths = SCORES[name], (3, 9, 1, 8)
    q, k, v, *sinks = inputs = _inputs(sum(lengths), score.sinks, value_dim)
    sink = sinks[0] if sinks else None
    mask = visibility(lengths, score.window, score.chunk)
    packing = _packing(lengths) if score.chunk is None else _packing(lengths).chunked(score.chunk)

    got = varlen_attention(q, k, v, packing, score, sink)

    _assert_same(got, masked_attention(q, k, v, mask, score, sink), inputs)
