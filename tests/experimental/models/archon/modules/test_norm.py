# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers.models.cohere.modeling_cohere import CohereLayerNorm
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.llama4.modeling_llama4 import Llama4TextL2Norm
from transformers.models.nemotron.modeling_nemotron import NemotronLayerNorm1P
from transformers.models.olmo.modeling_olmo import OlmoLayerNorm
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm

from areal.experimental.models.archon.model_args import NormArgs
from areal.experimental.models.archon.modules.norm import Norm

HEADS, WIDTH = 3, 24
KINDS: dict[str, tuple[NormArgs, tuple[int, ...], Callable[[], nn.Module]]] = {
    "llama": (NormArgs(eps=1e-3), (WIDTH,), lambda: LlamaRMSNorm(WIDTH, 1e-3)),
    "gemma": (NormArgs(eps=1e-3, offset=1.0, weight_in_fp32=True), (WIDTH,), lambda: Gemma2RMSNorm(WIDTH, 1e-3)),
    "olmo2": (NormArgs(eps=1e-3, weight_in_fp32=True), (WIDTH,), lambda: Olmo2RMSNorm(WIDTH, 1e-3)),
    "gpt_oss": (NormArgs(eps=1e-3, weight_in_fp32=True), (WIDTH,), lambda: GptOssRMSNorm(WIDTH, 1e-3)),
    "llama4-qk": (NormArgs(eps=1e-3, has_weight=False), (WIDTH,), lambda: Llama4TextL2Norm(1e-3)),
    "phi": (NormArgs(kind="layer", eps=1e-3, has_bias=True), (WIDTH,), lambda: nn.LayerNorm(WIDTH, 1e-3)),
    "olmo": (NormArgs(kind="layer", eps=1e-5, has_weight=False), (WIDTH,), lambda: OlmoLayerNorm(WIDTH)),
    "nemotron": (
        NormArgs(kind="layer", eps=1e-3, offset=1.0, has_bias=True),
        (WIDTH,),
        lambda: NemotronLayerNorm1P(WIDTH, 1e-3),
    ),
    "cohere": (
        NormArgs(kind="layer", eps=1e-3, weight_in_fp32=True),
        (WIDTH,),
        lambda: CohereLayerNorm(WIDTH, 1e-3),
    ),
    "cohere-qk": (
        NormArgs(kind="layer", eps=1e-3, weight_in_fp32=True),
        (HEADS, WIDTH),
        lambda: CohereLayerNorm((HEADS, WIDTH), 1e-3),
    ),
}


def _pair(name: str, dtype: torch.dtype) -> tuple[Norm, nn.Module, torch.Tensor]:
    """Our norm and HF's with the same perturbed weights, and an input."""
    torch.manual_seed(0)
    args, shape, make = KINDS[name]
    theirs, ours = make(), Norm(args, *shape)
    state = {key: value + torch.randn_like(value) * 0.3 for key, value in theirs.state_dict().items()}
    theirs.load_state_dict(state)
    ours.load_state_dict(state)
    x = torch.randn(900, HEADS, WIDTH) * 3 + 1
    return ours.to(dtype), theirs.to(dtype), x.to(dtype)


@pytest.mark.parametrize("name", KINDS)
def test_norm_each_kind_matches_hf_module_and_its_gradients(name: str) -> None:
    ours, theirs, x = _pair(name, torch.float32)
    x.requires_grad_()
    got, expected = ours(x), theirs(x)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    grad = torch.randn_like(got)
    got_grads = torch.autograd.grad(got, [x, *ours.parameters()], grad)
    expected_grads = torch.autograd.grad(expected, [x, *theirs.parameters()], grad)
    for mine, reference in zip(got_grads, expected_grads, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_norm_each_kind_rounds_like_hf_in_bfloat16(name: str) -> None:
    ours, theirs, x = _pair(name, torch.bfloat16)
    got, expected = ours(x), theirs(x)
    assert (got != expected).float().mean() < 1e-3  # sums in another order flip the rounding of a few
    torch.testing.assert_close(got, expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", KINDS)
def test_norm_without_gradients_gives_the_same_values(name: str) -> None:
    ours, _, x = _pair(name, torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), ours(x.clone().requires_grad_()).detach(), rtol=1e-5, atol=1e-5)


def test_norm_l2_hand_computed_case() -> None:
    norm = Norm(NormArgs(kind="l2", eps=0.0, has_weight=False), 2)
    torch.testing.assert_close(norm(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.6, 0.8]]))


@pytest.mark.parametrize("name", KINDS)
def test_norm_initial_weights_normalise_plainly(name: str) -> None:
    args, shape, _ = KINDS[name]
    norm, plain = Norm(args, *shape), Norm(NormArgs(kind=args.kind, eps=args.eps, has_weight=False), WIDTH)
    norm.init_weights()
    x = torch.randn(5, HEADS, WIDTH)
    torch.testing.assert_close(norm(x), plain(x))
