# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Linear biases of scores against the paper's slopes, HF's tables, and a softmax with the biases written out."""

import pytest
import torch
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

from areal.experimental.models.archon.model_args import AlibiArgs
from areal.experimental.models.archon.modules.alibi import slopes_of, with_biases


def test_slopes_of_eight_heads_are_those_of_the_paper():
    assert slopes_of(AlibiArgs(), 8).tolist() == [2.0**-n for n in range(1, 9)]


def test_factor_multiplies_every_slope():
    assert slopes_of(AlibiArgs(max_bias=4.0, factor=3.0), 2).tolist() == [3 * 2.0**-2, 3 * 2.0**-4]


@pytest.mark.parametrize(("num_heads", "max_bias"), [(1, 8), (12, 8), (16, 5), (71, 8)])
def test_slopes_of_any_number_of_heads_equal_hf(num_heads, max_bias):
    hf = build_mpt_alibi_tensor(num_heads, 2, max_bias)
    torch.testing.assert_close(slopes_of(AlibiArgs(max_bias=max_bias), num_heads), -hf[:, 0, 0], rtol=1e-6, atol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)])
def test_weights_equal_a_softmax_with_biases_far_from_the_start_too(dtype, tolerance):
    """Scores are sums of numbers as large as slope times position; bf16: its slopes are rounded to 8 bits, its positions are not."""
    torch.manual_seed(0)
    q, k = torch.randn(1, 4, 16).to(dtype), torch.randn(40, 2, 16).to(dtype)
    positions = torch.arange(40) + 5000
    slopes = slopes_of(AlibiArgs(max_bias=3.0, factor=0.37), 4)
    scores = 0.25 * torch.einsum("qhd,khd->hqk", q.float(), k.float().repeat_interleave(2, dim=1))
    expected = (scores - slopes[:, None, None] * (positions[-1] - positions)).softmax(-1)
    wide_q, _ = with_biases(q, k[:1], slopes, positions[-1:], 0.25)
    _, wide_k = with_biases(q.expand(40, -1, -1), k, slopes, positions, 0.25)
    got = 0.25 * torch.einsum("qhd,khd->hqk", wide_q.float(), wide_k.float().repeat_interleave(2, dim=1))
    torch.testing.assert_close(got.softmax(-1), expected, atol=tolerance, rtol=0)
