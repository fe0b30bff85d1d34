# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import math
import weakref

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from areal.utils.functional import logprobs
from areal.utils.functional.logprobs import (
    gather_logprobs,
    gather_logprobs_entropy,
    linear_logprobs,
    linear_logprobs_entropy,
)

T, D, V = 11, 6, 17  # tokens, hidden size, vocabulary: multiples of no chunk size used below


def _naive(logits: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    log_p = torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature, dim=-1)
    return log_p[torch.arange(len(labels)), labels], -(log_p.exp() * log_p).sum(dim=-1)


def _inputs(dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(T, D, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(V, D, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    bias = torch.randn(V, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    labels = torch.randint(0, V, (T,), generator=generator)
    return hidden, weight, bias, labels


def test_gather_logprobs_two_tokens_matches_hand_computed_values():
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    logp, entropy = gather_logprobs_entropy(logits, torch.tensor([1, 0]))
    torch.testing.assert_close(logp, torch.tensor([math.log(0.75), math.log(0.5)]))
    expected = torch.tensor([-0.75 * math.log(0.75) - 0.25 * math.log(0.25), math.log(2.0)])
    torch.testing.assert_close(entropy, expected)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk_size", [1, 4, 1024])
def test_gather_logprobs_entropy_any_chunk_matches_naive_autograd(temperature: float, chunk_size: int):
    generator = torch.Generator().manual_seed(1)
    logits = (3 * torch.randn(T, V, generator=generator, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(0, V, (T,), generator=generator)
    weights = torch.randn(2, T, generator=generator, dtype=torch.float64)

    logp, entropy = gather_logprobs_entropy(logits, labels, temperature, chunk_size)
    (grad,) = torch.autograd.grad((weights[0] * logp + weights[1] * entropy).sum(), logits)
    naive_logp, naive_entropy = _naive(logits, labels, temperature)
    (naive,) = torch.autograd.grad((weights[0] * naive_logp + weights[1] * naive_entropy).sum(), logits)

    torch.testing.assert_close(logp, naive_logp)
    torch.testing.assert_close(entropy, naive_entropy)
    torch.testing.assert_close(grad, naive)


@pytest.fixture(params=["kept", "recomputed"])
def logits_are(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "recomputed":
        monkeypatch.setattr(logprobs, "MAX_KEPT_LOGITS_BYTES", 0)
    return request.param


@pytest.mark.parametrize("with_bias", [False, True])
def test_linear_logprobs_entropy_float64_passes_gradcheck(logits_are: str, with_bias: bool):
    hidden, weight, bias, labels = _inputs(torch.float64)

    def outputs(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return linear_logprobs_entropy(hidden, weight, labels, 1.3, chunk_size=4, bias=bias if with_bias else None)

    inputs = (hidden, weight, bias) if with_bias else (hidden, weight, bias.detach())
    assert torch.autograd.gradcheck(outputs, inputs)


@pytest.mark.parametrize("use", ["logp", "entropy", "both"])
def test_linear_logprobs_entropy_one_output_used_matches_naive_gradients(logits_are: str, use: str):
    hidden, weight, bias, labels = _inputs(torch.float32)

    def loss(logp: Tensor, entropy: Tensor) -> Tensor:
        return {"logp": logp.sum(), "entropy": entropy.pow(2).sum(), "both": (logp * entropy).sum()}[use]

    fused = loss(*linear_logprobs_entropy(hidden, weight, labels, 0.9, 3, bias))
    naive = loss(*_naive(torch.nn.functional.linear(hidden, weight, bias), labels, 0.9))
    torch.testing.assert_close(fused, naive)
    for got, expected in zip(
        torch.autograd.grad(fused, (hidden, weight, bias)), torch.autograd.grad(naive, (hidden, weight, bias))
    ):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("without_gradient", [(), (10,), (0, 1, 2, 5), tuple(range(10))])
def test_linear_logprobs_entropy_any_rows_without_gradient_match_naive_gradients_twice(
    logits_are: str, without_gradient: tuple[int, ...]
):
    hidden, weight, bias, labels = _inputs(torch.float64)
    mask = torch.ones(T, dtype=torch.float64)
    mask[list(without_gradient)] = 0.0

    logp, entropy = linear_logprobs_entropy(hidden, weight, labels, 0.9, 4, bias)
    naive_logp, naive_entropy = _naive(torch.nn.functional.linear(hidden, weight, bias), labels, 0.9)
    inputs = (hidden, weight, bias)
    expected = torch.autograd.grad(((naive_logp + naive_entropy.square()) * mask).sum(), inputs)
    loss = ((logp + entropy.square()) * mask).sum()
    for _ in range(2):  # a backward leaves what the forward kept as it was
        got = torch.autograd.grad(loss, inputs, retain_graph=True)
        torch.testing.assert_close(got, expected)


def test_linear_logprobs_bfloat16_weight_gradient_is_summed_in_float32(logits_are: str):
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(4096, 8, generator=generator).bfloat16()
    weight = torch.randn(5, 8, generator=generator).bfloat16().requires_grad_()
    labels = torch.randint(0, 5, (4096,), generator=generator)

    logp = linear_logprobs(hidden, weight, labels, chunk_size=16)
    assert logp.dtype == torch.float32
    logp.sum().backward()

    exact_weight = weight.detach().float().requires_grad_()
    _naive(hidden.float() @ exact_weight.t(), labels, 1.0)[0].sum().backward()
    error = (weight.grad.float() - exact_weight.grad).norm() / exact_weight.grad.norm()
    assert error < 1e-2


def test_linear_logprobs_rows_without_upstream_gradient_do_no_backward_work(logits_are: str):
    hidden, weight, _, labels = _inputs(torch.float32)
    logp = linear_logprobs(hidden, weight, labels, chunk_size=4)
    mask = torch.zeros(T)
    mask[5] = 1.0
    rows: list[int] = []

    class CountRows(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten.exp_.default:
                rows.append(args[0].shape[0])
            return func(*args, **(kwargs or {}))

    with CountRows():
        (logp * mask).sum().backward()
    assert rows == [1]
    assert hidden.grad.abs().sum(dim=1).nonzero().flatten().tolist() == [5]


def test_linear_logprobs_entropy_large_batch_never_holds_all_logits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logprobs, "MAX_KEPT_LOGITS_BYTES", 64 * 512)  # a quarter of what follows
    num_tokens, vocab, chunk = 64, 512, 8
    hidden = torch.randn(num_tokens, 4, requires_grad=True)
    weight = torch.randn(vocab, 4, requires_grad=True)
    labels = torch.zeros(num_tokens, dtype=torch.long)
    live: list[weakref.ref[Tensor]] = []
    peak = 0

    class CountLiveElements(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal peak
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor) and result._base is None:
                live.append(weakref.ref(result))
            storages = {t.untyped_storage().data_ptr(): t.numel() for ref in live if (t := ref()) is not None}
            peak = max(peak, sum(storages.values()))
            return result

    with CountLiveElements():
        logp, entropy = linear_logprobs_entropy(hidden, weight, labels, chunk_size=chunk)
        (logp.sum() + entropy.sum()).backward()
    # A few chunks of [8, 512] at a time plus the [512, 4] weight gradient, against 64 * 512 for the logits.
    assert peak < 0.75 * num_tokens * vocab


def test_gather_logprobs_does_not_modify_the_logits():
    logits = torch.randn(T, V)
    before = logits.clone()
    gather_logprobs(logits, torch.zeros(T, dtype=torch.int32), temperature=2.0, chunk_size=5)
    assert torch.equal(logits, before)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"temperature": 0.0}, "temperature > 0, got 0.0"),
        ({"chunk_size": 0}, "chunk_size >= 1, got 0"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, r"one label for each of 11 rows.*\(3,\)"),
    ],
)
def test_gather_logprobs_bad_arguments_raise_with_the_value(kwargs: dict, message: str):
    arguments = {"labels": torch.zeros(T, dtype=torch.long), **kwargs}
    with pytest.raises(ValueError, match=message):
        gather_logprobs(torch.randn(T, V), **arguments)
