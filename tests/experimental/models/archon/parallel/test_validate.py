# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Layouts that a model does not divide by are refused, naming the layer and both numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from areal.experimental.models.archon.model_args import DecoderArgs, MoEArgs
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.validate import check_layout
from areal.utils.errors import ConfigError
from tests.experimental.models.archon.parallel.cases import ATTENTION, DENSE, FFN, LAYER, MIXERS, MOE

MANY_HEADS = replace(DENSE, layers=(replace(LAYER, mixer=replace(ATTENTION, num_heads=12, num_kv_heads=3)),))
ODD_FFN = replace(DENSE, layers=(LAYER, replace(LAYER, ffn=replace(FFN, intermediate_size=9))))

EXPERTS_LAYER = MOE.layers[1]
assert isinstance(EXPERTS_LAYER.ffn, MoEArgs)
XIELU = replace(EXPERTS_LAYER.ffn, experts=replace(EXPERTS_LAYER.ffn.experts, activation="xielu"))
TRAINABLE_ACT = replace(MOE, layers=(LAYER, replace(EXPERTS_LAYER, ffn=XIELU)))


@pytest.mark.parametrize(
    ("args", "sizes", "text"),
    [
        (DENSE, {"tp": 8}, r"layer 0: attention heads to be divisible by tp\*cp = 8, got 4"),
        (DENSE, {"tp": 2, "cp": 4}, r"attention heads to be divisible by tp\*cp = 8, got 4"),
        (DENSE, {"tp": 4}, r"layer 0: key-value heads .* divisible by tp = 4, got 2"),
        (MANY_HEADS, {"cp": 2}, r"3 = 3/1 heads and cp = 2"),
        (ODD_FFN, {"tp": 2}, r"layer 1: width of the feed-forward to be divisible by tp = 2, got 9"),
        (MOE, {"ep": 8, "dp_shard": 8}, r"layer 1: experts to be divisible by ep = 8, got 4"),
        (MIXERS, {"cp": 8}, r"layer 0: value heads of the gated DeltaNet to be divisible by cp = 8, got 4"),
        (TRAINABLE_ACT, {"ep": 2, "dp_shard": 2}, r"layer 1: xielu and ep = 2"),
    ],
)
def test_layout_that_does_not_divide_is_refused_with_both_numbers(
    args: DecoderArgs, sizes: dict[str, int], text: str
) -> None:
    world_size = sizes.get("dp_shard", 1) * sizes.get("tp", 1) * sizes.get("cp", 1) * sizes.get("pp", 1)
    with pytest.raises(ConfigError, match=text):
        check_layout(args, ArchonParallelDims(**sizes, world_size=world_size))


def test_key_heads_fewer_than_context_parallel_ranks_are_accepted() -> None:
    check_layout(DENSE, ArchonParallelDims(cp=4, world_size=4))
