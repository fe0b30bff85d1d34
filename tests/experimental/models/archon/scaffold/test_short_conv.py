# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Gated short convolutions are measured on HF models, whose classes may leave their kinds of layers open."""

import pytest
import torch

from areal.experimental.models.archon.model_args import AttentionArgs, ShortConvArgs
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import build, random_tokens, trace
from areal.experimental.models.archon.scaffold.observe import Observer
from areal.experimental.models.archon.scaffold.pipeline import config_class_of
from areal.experimental.models.archon.scaffold.short_conv import fit_short_conv, is_short_conv
from areal.experimental.models.archon.scaffold.tiny_config import find_tiny
from areal.experimental.models.archon.scaffold.verify import forward_error, ours_of

KINDS = ["conv", "full_attention", "conv", "conv"]


def tiny(model_type, **fields):
    return find_tiny(
        config_class_of(model_type), lambda config: trace(build(config, 0), random_tokens(config, 0)), fields
    )


@pytest.mark.parametrize("bias", [False, True])
def test_short_convolution_in_an_hf_model_is_measured_and_our_model_gives_its_logits(bias):
    model = build(tiny("lfm2", layer_types=KINDS, conv_bias=bias, conv_L_cache=4), 0)
    record = trace(model, random_tokens(model.config, 0))
    found = Observer(record).observe()
    assert found.args.layers[0].mixer == ShortConvArgs(conv_channels=64, conv_kernel=4, bias=bias)
    assert [isinstance(layer.mixer, AttentionArgs) for layer in found.args.layers] == [False, True, False, False]
    assert forward_error(model, ours_of(found.args, found.tensors), record.tokens) < 1e-5


def test_kinds_of_layers_that_the_class_leaves_open_come_from_the_source_of_its_model():
    assert set(tiny("lfm2_moe").layer_types) == {"conv", "full_attention"}


def test_convolution_with_an_activation_is_refused_with_the_readings_that_were_tried():
    model = build(tiny("lfm2", layer_types=KINDS), 0)
    record = trace(model, random_tokens(model.config, 0))
    (call,) = record.calls_of("model.layers.0.conv")
    assert is_short_conv(call.module)
    inside = record.under(call.name)
    (out,) = (c for c in inside if c.name.endswith("out_proj"))
    out.x, out.y = (
        torch.nn.functional.silu(out.x),
        torch.nn.functional.linear(torch.nn.functional.silu(out.x), out.module.weight),
    )
    with pytest.raises(Unexplained, match="not c · conv") as caught:
        fit_short_conv(call.name, inside, call.x[0], out.y[0], call.module)
    assert len(caught.value.errors) == 3
