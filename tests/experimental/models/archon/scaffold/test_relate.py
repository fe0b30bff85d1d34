# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Which fields must be set for a family to make sense of a config."""

from areal.experimental.models.archon.model_args import FeedForwardArgs, ScoreArgs
from areal.experimental.models.archon.scaffold.explain import Choice, Leaf, Struct
from areal.experimental.models.archon.scaffold.relate import codes_that_need_values


def test_option_that_may_be_none_needs_no_value_and_a_size_does():
    window = Choice('hf("kind") == "local"', Leaf('hf("window")'), Leaf("None"))
    score = Struct(ScoreArgs, {"scale": Leaf('hf("scale")'), "window": window, "softcap": Leaf('hf("cap")')})
    assert list(codes_that_need_values(score)) == ['hf("scale")']
    sizes = Choice('hf("wide")', Leaf('hf("wide_size")'), Leaf('hf("size")'))
    ffn = Struct(FeedForwardArgs, {"intermediate_size": sizes, "gated": Leaf("True")})
    assert list(codes_that_need_values(ffn)) == ['hf("wide_size")', 'hf("size")', "True"]
