# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Norms of HF families are recognised from their outputs alone."""

import pytest
import torch
from torch import nn
from transformers.models.cohere.modeling_cohere import CohereLayerNorm
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.nemotron.modeling_nemotron import NemotronLayerNorm1P
from transformers.models.olmo.modeling_olmo import OlmoLayerNorm

from areal.experimental.models.archon.model_args import NormArgs
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.norms import fit_norm

WIDTH = 24
CASES = [
    (lambda: LlamaRMSNorm(WIDTH, eps=1e-6), NormArgs(eps=1e-6)),
    (lambda: LlamaRMSNorm(WIDTH, eps=0.02), NormArgs(eps=0.02)),
    (lambda: Gemma2RMSNorm(WIDTH, eps=1e-5), NormArgs(eps=1e-5, offset=1.0, weight_in_fp32=True)),
    (lambda: nn.LayerNorm(WIDTH, eps=1e-5), NormArgs(kind="layer", eps=1e-5, has_bias=True)),
    (lambda: CohereLayerNorm(WIDTH, eps=1e-5), NormArgs(kind="layer", eps=1e-5, weight_in_fp32=True)),
    (lambda: NemotronLayerNorm1P(WIDTH, eps=1e-5), NormArgs(kind="layer", eps=1e-5, offset=1.0, has_bias=True)),
    (lambda: OlmoLayerNorm(WIDTH), NormArgs(kind="layer", eps=1e-5, has_weight=False)),
]


@pytest.mark.parametrize(("build", "expected"), CASES, ids=[f"{i}" for i in range(len(CASES))])
def test_norm_of_a_family_is_recognised_with_its_epsilon(build, expected):
    torch.manual_seed(0)
    module = build()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    fitted = fit_norm(module, "norm", WIDTH, (0.02,))
    got = fitted.args
    assert (got.kind, got.offset, got.has_weight, got.has_bias) == (
        expected.kind,
        expected.offset,
        expected.has_weight,
        expected.has_bias,
    )
    assert got.eps == pytest.approx(expected.eps, rel=1e-6)


def test_module_that_is_no_norm_is_refused_with_the_closest_options():
    with pytest.raises(Unexplained, match="not a normalisation") as error:
        fit_norm(nn.Tanh(), "act", WIDTH, ())
    assert error.value.errors
