# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.qwen3_next.modeling_qwen3_next import torch_chunk_gated_delta_rule

from areal.experimental.models.archon.kernels.delta_rule import delta_rule, delta_rule_step

LENGTHS = (70, 1, 130, 64)


def _inputs(num_tokens: int, num_heads: int = 2, key_dim: int = 8, value_dim: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(num_tokens)
    q, k = (F.normalize(torch.randn(num_tokens, num_heads, key_dim, generator=generator), dim=-1) for _ in range(2))
    v = torch.randn(num_tokens, num_heads, value_dim, generator=generator)
    log_decay, beta = (torch.rand(num_tokens, num_heads, generator=generator) for _ in range(2))
    return [x.requires_grad_() for x in (q, k, v, -log_decay, beta)]


def _one_by_one(inputs: list[Tensor], lengths: tuple[int, ...], states: Tensor) -> tuple[Tensor, Tensor]:
    """The recurrence itself, a token at a time."""
    outputs, finals = [], []
    for sequence, state in zip(zip(*(x.split(lengths) for x in inputs)), states.split(1)):
        for t in range(len(sequence[0])):
            output, state = delta_rule_step(*(x[t : t + 1] for x in sequence), state)
            outputs.append(output)
        finals.append(state)
    return torch.cat(outputs), torch.cat(finals)


def test_delta_rule_step_hand_computed_case() -> None:
    """One head, D = W = 1: S = e^g S + k β (v - e^g S k), o = q S."""
    state = torch.tensor([[[[2.0]]]])
    q, k, v = (torch.tensor([[[x]]]) for x in (3.0, 0.5, 4.0))
    output, new = delta_rule_step(q, k, v, torch.tensor([[-0.6931472]]), torch.tensor([[0.5]]), state)
    # e^g S = 1; correction = 0.5 · (4 - 0.5 · 1) = 1.75; S = 1 + 0.5 · 1.75 = 1.875; o = 3 · 1.875.
    torch.testing.assert_close(new.flatten(), torch.tensor([1.875]))
    torch.testing.assert_close(output.flatten(), torch.tensor([5.625]))


@pytest.mark.parametrize("has_state", [False, True])
def test_delta_rule_packed_sequences_match_recurrence_and_its_gradients(has_state: bool) -> None:
    inputs = _inputs(sum(LENGTHS))
    states = torch.randn(len(LENGTHS), 2, 8, 4) if has_state else torch.zeros(len(LENGTHS), 2, 8, 4)
    got, final = delta_rule(*inputs, LENGTHS, states if has_state else None)
    expected, final_expected = _one_by_one(inputs, LENGTHS, states)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(final, final_expected, rtol=1e-5, atol=1e-5)
    grad = torch.randn_like(got)
    for ours, theirs in zip(torch.autograd.grad(got, inputs, grad), torch.autograd.grad(expected, inputs, grad)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_delta_rule_matches_hf() -> None:
    inputs = _inputs(150)
    got, final = delta_rule(*inputs, (150,))
    expected, final_expected = torch_chunk_gated_delta_rule(*(x.unsqueeze(0) for x in inputs), output_final_state=True)
    torch.testing.assert_close(got, expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(final, final_expected, rtol=1e-5, atol=1e-5)


def test_delta_rule_state_continues_a_sequence() -> None:
    inputs = [x.detach() for x in _inputs(100)]
    whole, final = delta_rule(*inputs, (100,))
    first, state = delta_rule(*(x[:37] for x in inputs), (37,))
    second, final_of_parts = delta_rule(*(x[37:] for x in inputs), (63,), state)
    torch.testing.assert_close(torch.cat((first, second)), whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(final_of_parts, final, rtol=1e-5, atol=1e-5)


def test_delta_rule_strong_decay_and_equal_keys_stay_finite() -> None:
    """Differences of decays overflow above the diagonal; equal keys with β = 1 make the system as stiff as it gets."""
    q, k, v, log_decay, beta = _inputs(128)
    k = k[:1].expand(128, -1, -1)
    inputs = [q, k, v, log_decay * 200, torch.ones_like(beta)]
    got, _ = delta_rule(*inputs, (128,))
    expected, _ = _one_by_one(inputs, (128,), torch.zeros(1, 2, 8, 4))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert all(g.isfinite().all() for g in torch.autograd.grad(got.sum(), (q, v, log_decay)))


def test_delta_rule_bfloat16_computes_in_fp32() -> None:
    inputs = [x.detach().bfloat16() for x in _inputs(90)]
    got, final = delta_rule(*inputs, (90,))
    exact, _ = delta_rule(*(x.float() for x in inputs), (90,))
    assert got.dtype == torch.bfloat16 and final.dtype == torch.float32
    torch.testing.assert_close(got, exact.bfloat16())


def test_delta_rule_after_a_server_in_the_same_process_still_trains() -> None:
    lengths = (3, 70, 5)
    with torch.inference_mode():
        delta_rule(*_inputs(78), lengths)
    inputs = [x.requires_grad_() for x in _inputs(78)]

    delta_rule(*inputs, lengths)[0].sum().backward()

    assert all(x.grad is not None and x.grad.isfinite().all() for x in inputs)
