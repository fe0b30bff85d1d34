# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""How often blocks are compiled: once for all layers that are alike, and once more for lengths that change."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch

from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.parallel.activation import ActivationCheckpointConfig
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.parallelize import parallelize_decoder
from areal.experimental.models.archon.planning.fake_world import fake_world
from tests.experimental.models.archon.parallel.cases import (
    DELTA,
    DENSE,
    EXPERTS,
    LAYER,
    loss_of,
    make_batch,
    make_model,
)

NUM_LAYERS = 9
"""One more than torch compiles for one function before it gives up."""
MODELS = {
    "dense": (DENSE, 4),
    "experts": (replace(DENSE, layers=(replace(LAYER, ffn=EXPERTS),)), 3),
    "delta net": (replace(DENSE, layers=(replace(LAYER, mixer=DELTA),)), 5),
}
"""Arguments, and the graphs of a layer: cut where tokens meet, which stays eager."""


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Everything that is compiled, by no compiler at all."""
    found: list[Any] = []
    compiler = torch.compile

    def keep(graph: Any, inputs: Any) -> Callable[..., Any]:
        found.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda function: compiler(function, backend=keep))
    torch._dynamo.reset()
    return found


def _train(args: DecoderArgs, mode: Any, tp: int) -> Callable[[tuple[int, ...]], None]:
    model = make_model(replace(args, layers=args.layers[:1] * NUM_LAYERS))
    dims = ArchonParallelDims(tp=tp, world_size=tp)
    checkpointing = ActivationCheckpointConfig(mode=mode)
    parallelize_decoder(model, dims, torch.float32, torch.float32, ac_config=checkpointing, enable_compile=True)
    return lambda lengths: loss_of(model, make_batch(0, lengths)).backward()


@pytest.mark.parametrize(
    ("name", "mode", "tp"),
    [
        ("dense", "none", 1),
        ("dense", "full", 1),
        ("dense", "selective", 1),
        ("dense", "selective", 2),
        ("experts", "selective", 1),
        ("delta net", "none", 1),
    ],
)
def test_layers_that_are_alike_share_what_is_compiled(name: str, mode: str, tp: int, graphs: list[Any]) -> None:
    args, per_layer = MODELS[name]
    with fake_world(tp, 0) if tp > 1 else nullcontext():
        train = _train(args, mode, tp)

        train((7, 1, 12, 4))
        num_first = len(graphs)
        train((9, 11))
        num_dynamic = len(graphs)
        train((5, 6, 7, 4))
        train((18, 12))

    # The gathers around a tensor-parallel mixer and feed-forward cut once more each.
    assert num_first == per_layer + (2 if tp > 1 else 0)
    assert num_dynamic <= 2 * num_first
    assert len(graphs) == num_dynamic
