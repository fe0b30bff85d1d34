# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from areal.experimental.models.archon.kernels.conv import causal_conv, conv_step, last_inputs

LENGTHS = (5, 1, 2, 9)


def _reference(x_NC: Tensor, weight_CS: Tensor, lengths: tuple[int, ...], history: Tensor) -> Tensor:
    """torch's own convolution, a sequence at a time."""
    outputs = []
    for x, before in zip(x_NC.split(lengths), history):
        row = torch.cat((before, x)).t().unsqueeze(0)
        outputs.append(F.conv1d(row, weight_CS.unsqueeze(1), groups=len(weight_CS))[0].t())
    return torch.cat(outputs)


@pytest.mark.parametrize("has_history", [False, True])
@pytest.mark.parametrize("lengths", [LENGTHS, (17,)])
def test_causal_conv_packed_sequences_match_torch(lengths: tuple[int, ...], has_history: bool) -> None:
    x, weight = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((17, 3), (3, 4)))
    history = torch.randn(len(lengths), 3, 3, dtype=torch.float64) * has_history
    got = causal_conv(x, weight, lengths, history if has_history else None)
    expected = _reference(x, weight, lengths, history)
    torch.testing.assert_close(got, expected)
    grad = torch.randn_like(got)
    for ours, theirs in zip(
        torch.autograd.grad(got, (x, weight), grad), torch.autograd.grad(expected, (x, weight), grad)
    ):
        torch.testing.assert_close(ours, theirs)


def test_causal_conv_history_continues_sequences() -> None:
    x, weight = torch.randn(17, 3), torch.randn(3, 4)
    whole = causal_conv(x, weight, LENGTHS)
    sequences = x.split(LENGTHS)
    heads = torch.cat([s[:1] for s in sequences])
    first = causal_conv(heads, weight, (1,) * len(LENGTHS))
    history = last_inputs(heads, 4, (1,) * len(LENGTHS))
    long = [i for i, length in enumerate(LENGTHS) if length > 1]
    rest = causal_conv(
        torch.cat([sequences[i][1:] for i in long]), weight, tuple(LENGTHS[i] - 1 for i in long), history[long]
    )
    expected = whole.split(LENGTHS)
    torch.testing.assert_close(first, torch.cat([s[:1] for s in expected]))
    torch.testing.assert_close(rest, torch.cat([expected[i][1:] for i in long]))


def test_conv_step_token_by_token_matches_whole() -> None:
    x, weight = torch.randn(2, 6, 3), torch.randn(3, 4)
    expected = causal_conv(x.flatten(0, 1), weight, (6, 6)).view(2, 6, 3)
    history = torch.zeros(2, 3, 3)
    for t in range(6):
        got, history = conv_step(x[:, t], weight, history)
        torch.testing.assert_close(got, expected[:, t])
    torch.testing.assert_close(history, last_inputs(x.flatten(0, 1), 4, (6, 6)))
