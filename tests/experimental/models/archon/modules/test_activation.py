# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from transformers.activations import ACT2FN, XIELUActivation

from areal.experimental.models.archon.modules.activation import XIELU, activation_of, clamped_swiglu

NAMES = {"silu": "silu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu", "relu2": "relu2"}


@pytest.mark.parametrize(("ours", "theirs"), NAMES.items())
def test_activation_of_name_matches_transformers(ours: str, theirs: str) -> None:
    x = torch.randn(64) * 3
    torch.testing.assert_close(activation_of(ours)(x), ACT2FN[theirs](x))


def test_activation_of_unknown_name_raises() -> None:
    with pytest.raises(ValueError, match="got 'sine'"):
        activation_of("sine")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_xielu_matches_transformers_values_and_gradients(dtype: torch.dtype) -> None:
    theirs, ours = XIELUActivation(dtype=dtype), XIELU()
    state = {key: value * 1.3 for key, value in theirs.state_dict().items()}
    theirs.load_state_dict(state)
    ours.load_state_dict(state)
    ours.to(dtype)
    x = (torch.randn(64) * 2).to(dtype).requires_grad_()
    got, expected = ours(x), theirs(x)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)
    for mine, reference in zip(
        torch.autograd.grad(got.sum(), [x, *ours.parameters()]),
        torch.autograd.grad(expected.sum(), [x, *theirs.parameters()]),
    ):
        torch.testing.assert_close(mine, reference, rtol=0, atol=0)


def test_xielu_initial_slopes_are_those_of_the_paper() -> None:
    ours = XIELU()
    ours.init_weights()
    x = torch.tensor([2.0, -2.0])
    expected = XIELUActivation(dtype=torch.float32)
    torch.testing.assert_close(ours(x), expected(x), rtol=1e-5, atol=1e-5)


def test_clamped_swiglu_hand_computed_cases() -> None:
    """(u + 1) · g · σ(αg): the gate is clamped above only, the other factor on both sides."""
    gate, up = torch.tensor([9.0, -9.0, 1.0]), torch.tensor([1.0, 9.0, -9.0])
    got = clamped_swiglu(gate, up, clamp=7.0, alpha=1.0)
    sigmoid = torch.sigmoid(torch.tensor([7.0, -9.0, 1.0]))
    torch.testing.assert_close(got, torch.tensor([2 * 7.0, 8 * -9.0, -6 * 1.0]) * sigmoid)
