# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Activation checkpointing and compilation change neither losses, gradients, names nor counts of tokens."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointPolicy

from areal.experimental.models.archon.moe.moe import moe_layers
from areal.experimental.models.archon.parallel import activation
from areal.experimental.models.archon.parallel.activation import (
    ActivationCheckpointConfig,
    allows_one_backward,
    apply_activation_checkpointing,
)
from areal.experimental.models.archon.parallel.compile import apply_compile, is_compiled
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.parallelize import parallelize_decoder
from areal.experimental.models.archon.parallel.scoring import ScoringDecoder
from areal.experimental.models.archon.planning.fake_world import fake_world
from areal.utils.errors import ConfigError
from tests.distributed import run_ranks
from tests.experimental.models.archon.parallel.cases import (
    DENSE,
    MIXERS,
    MOE,
    assert_same_step,
    loss_of,
    make_batch,
    make_model,
    parallel_step,
    reference_step,
)

FULL = ActivationCheckpointConfig(mode="full")
OP = ActivationCheckpointConfig(mode="selective")
SECOND = ActivationCheckpointConfig(mode="selective", selective_ac_option="2")
ALL_LAYERS = replace(MOE, layers=(*MOE.layers, *MIXERS.layers))


def _gradients(model: ScoringDecoder) -> dict[str, Tensor]:
    loss_of(model, make_batch(0)).backward()
    return {name: param.grad for name, param in model.named_parameters()}


@pytest.mark.parametrize("config", [FULL, OP, SECOND], ids=["full", "op", "second"])
def test_checkpointed_blocks_have_the_gradients_and_names_of_plain_ones(config: ActivationCheckpointConfig) -> None:
    plain, checkpointed = make_model(ALL_LAYERS), make_model(ALL_LAYERS)
    apply_activation_checkpointing(checkpointed, config, compiles=False)
    expected = _gradients(plain)
    got = _gradients(checkpointed)
    assert got.keys() == expected.keys()
    for name, grad in expected.items():
        torch.testing.assert_close(got[name], grad, msg=name)


@pytest.mark.parametrize("sizes", [{"tp": 2}, {"dp_shard": 2}], ids=str)
@pytest.mark.parametrize(("config", "expected"), [(FULL, False), (OP, True), (SECOND, False)])
def test_allows_one_backward_where_operators_are_selected_also_of_sharded_blocks(
    config: ActivationCheckpointConfig, expected: bool, sizes: dict[str, int]
) -> None:
    with fake_world(2, 0):
        dims = ArchonParallelDims(**sizes, world_size=2)
        model = parallelize_decoder(make_model(DENSE), dims, torch.float32, torch.float32, ac_config=config)
    assert allows_one_backward(model) == expected


def test_checkpointed_experts_count_each_token_once() -> None:
    plain, checkpointed = make_model(MOE), make_model(MOE)
    apply_activation_checkpointing(checkpointed, FULL, compiles=False)
    counts = []
    for model in (plain, checkpointed):
        _gradients(model)
        counts.append([layer.tokens_per_expert.tolist() for layer in moe_layers(model).values()])
    assert counts[0] == counts[1]


def _saved_bytes(config: ActivationCheckpointConfig | None) -> int:
    model = make_model(replace(DENSE, layers=DENSE.layers * 4))
    if config is not None:
        apply_activation_checkpointing(model, config, compiles=False)
    saved: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        saved[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss_of(model, make_batch(0))
    return sum(saved.values())


def test_less_is_kept_the_more_is_checkpointed() -> None:
    none, second, full = _saved_bytes(None), _saved_bytes(SECOND), _saved_bytes(FULL)
    assert full < second < none


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mode": "some"}, "got 'some'"),
        ({"selective_ac_option": "0"}, "got '0'"),
        ({"selective_ac_option": "ops"}, "got 'ops'"),
        ({"memory_budget": 1.5}, "got 1.5"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        ActivationCheckpointConfig(**options)


def test_memory_budget_without_compilation_is_refused() -> None:
    config = ActivationCheckpointConfig(mode="memory_budget")
    with pytest.raises(ConfigError, match="memory_budget, got none"):
        apply_activation_checkpointing(make_model(DENSE), config, compiles=False)


def _eagerly_compiled(model: ScoringDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile without the code generator, which takes half a minute: what is traced is what may go wrong here."""
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: compiler(function, backend="aot_eager"))
    apply_compile(model)


@pytest.mark.parametrize("config", [None, FULL, OP], ids=["none", "full", "op"])
def test_compiled_blocks_have_the_gradients_and_names_of_plain_ones(
    config: ActivationCheckpointConfig | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, compiled = make_model(MOE), make_model(MOE)
    if config is not None:
        apply_activation_checkpointing(compiled, config, compiles=True)
    _eagerly_compiled(compiled, monkeypatch)
    assert is_compiled(compiled) and not is_compiled(plain)
    expected, got = _gradients(plain), _gradients(compiled)
    assert got.keys() == expected.keys()
    for name, grad in expected.items():
        torch.testing.assert_close(got[name], grad, msg=name)


# In the second, FSDP has nothing to gather of the experts, and does in the backward what it does not in the forward.
@pytest.mark.parametrize("sizes", [{"dp_shard": 2, "tp": 2, "ep": 2}, {"dp_shard": 2, "tp": 2, "ep": 4}], ids=str)
@pytest.mark.parametrize("config", [FULL, OP], ids=["full", "op"])
def test_step_of_checkpointed_parallel_blocks_equals_that_of_one_process(
    config: ActivationCheckpointConfig, sizes: dict[str, int]
) -> None:
    expected = reference_step(MOE, [make_batch(0), make_batch(1)])
    for result in run_ranks(parallel_step, 4, MOE, sizes, {"ac_config": config}):
        assert_same_step(result, expected)


def test_selective_checkpointing_keeps_what_flash_attention_computed() -> None:
    import torch.nn.attention.varlen  # registers the operator

    flash = torch.ops.torch_attn._varlen_attn.default
    context = SimpleNamespace(is_recompute=False)
    policy = activation._op_policy(frozenset())
    assert policy(context, flash) is CheckpointPolicy.MUST_SAVE
    assert policy(context, torch.ops.aten.mul.Tensor) is CheckpointPolicy.PREFER_RECOMPUTE
