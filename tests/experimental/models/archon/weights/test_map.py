# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A weight map fails closed: nothing missing, unknown, misshaped or untied gets past it."""

import pytest
import torch

from areal.experimental.models.archon.weights.map import WeightMap
from areal.experimental.models.archon.weights.ops import Split, Stack
from areal.experimental.models.archon.weights.rules import rename, split
from areal.utils.errors import CheckpointError

SHAPES = {
    "tok_embeddings.weight": (5, 2),
    "layers.0.wq.weight": (4, 2),
    "layers.0.wk.weight": (2, 2),
    "layers.10.wq.weight": (4, 2),
    "layers.10.wk.weight": (2, 2),
    "layers.10.experts.w1": (3, 2, 2),
    "layers.10.experts.w3": (3, 2, 2),
}
RULES = (
    rename("tok_embeddings.weight", "embed.weight"),
    split(("layers.{i}.wq.{p}", "layers.{i}.wk.{p}"), "h.{i}.qk.{p}"),
    rename("layers.{i}.experts.w1", "h.{i}.e.{e}.gate", Stack()),
    rename("layers.{i}.experts.w3", "h.{i}.e.{e}.up", Stack()),
    split(("layers.{i}.experts.w1", "layers.{i}.experts.w3"), "h.{i}.gate_up", Split(dim=1)),
)


@pytest.fixture
def weights() -> WeightMap:
    return WeightMap(RULES, SHAPES)


@pytest.fixture
def state(weights) -> dict[str, torch.Tensor]:
    return {name: torch.randn(shape) for name, shape in weights.hf_shapes().items()}


def test_map_there_and_back_is_the_same_state(weights, state):
    ours = weights.from_hf(state)
    assert {name: tuple(tensor.shape) for name, tensor in ours.items()} == SHAPES
    back = dict(weights.to_hf(ours))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_map_writes_one_tensor_an_expert_and_one_for_fused_projections(weights):
    assert weights.hf_shapes() == {
        "embed.weight": (5, 2),
        "h.0.qk.weight": (6, 2),
        "h.10.qk.weight": (6, 2),
        **{f"h.10.e.{e}.gate": (2, 2) for e in range(3)},
        **{f"h.10.e.{e}.up": (2, 2) for e in range(3)},
    }


def test_map_reads_the_fused_layout_of_experts_too(weights, state):
    fused = {name: tensor for name, tensor in state.items() if ".e." not in name}
    gate = torch.stack([state[f"h.10.e.{e}.gate"] for e in range(3)])
    up = torch.stack([state[f"h.10.e.{e}.up"] for e in range(3)])
    fused["h.10.gate_up"] = torch.cat((gate, up), dim=1)
    ours, wanted = weights.from_hf(fused), weights.from_hf(state)
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)


def test_missing_tensor_is_named(weights, state):
    del state["h.10.e.1.up"]
    with pytest.raises(CheckpointError, match=r"got missing \['h.10.e.1.up'\]; export"):
        weights.from_hf(state)


def test_unknown_tensor_is_named(weights, state):
    with pytest.raises(CheckpointError, match=r"unknown \['h.1.qk.weight'\]"):
        weights.from_hf({**state, "h.1.qk.weight": torch.zeros(6, 2)})


@pytest.mark.parametrize(
    ("name", "shape"), [("embed.weight", (5, 3)), ("h.0.qk.weight", (5, 2)), ("h.10.e.0.up", (3, 2))]
)
def test_misshaped_tensor_is_named_with_the_wanted_shape(weights, state, name, shape):
    wanted = tuple(state[name].shape)
    with pytest.raises(CheckpointError) as error:
        weights.from_hf({**state, name: torch.zeros(shape)})
    assert name in str(error.value) and str(wanted) in str(error.value)


def test_parameter_without_a_rule_is_a_mistake_of_the_family():
    with pytest.raises(ValueError, match=r"none for \['layers.0.extra'\]"):
        WeightMap(RULES, {**SHAPES, "layers.0.extra": (1,)})


def test_state_that_lacks_one_of_our_parameters_is_not_written(weights, state):
    ours = weights.from_hf(state)
    del ours["layers.0.wk.weight"]
    with pytest.raises(CheckpointError, match=r"layers\.0\.wk\.weight"):
        dict(weights.to_hf(ours))


def test_optional_parameter_may_be_absent_and_is_written(state):
    weights = WeightMap((*RULES, rename("score", "score")), {**SHAPES, "score": (1, 2)}, optional=frozenset({"score"}))
    assert "score" not in weights.from_hf(state)
    assert "score" in weights.hf_names()


def test_tied_tensor_may_be_repeated_but_not_differ(state):
    weights = WeightMap(RULES, SHAPES, tied={"head.weight": "embed.weight"})
    weights.from_hf({**state, "head.weight": state["embed.weight"].clone()})
    with pytest.raises(CheckpointError, match=r"head\.weight to equal embed\.weight"):
        weights.from_hf({**state, "head.weight": state["embed.weight"] + 1})


def test_ignored_prefix_is_skipped(state):
    weights = WeightMap(RULES, SHAPES, ignored=("mtp.",))
    assert weights.from_hf({**state, "mtp.x": torch.zeros(1)}).keys() == SHAPES.keys()


def test_plan_of_some_parameters_still_checks_the_whole_checkpoint(weights, state):
    only = frozenset({"layers.0.wq.weight", "layers.0.wk.weight"})
    (entry,) = weights.plan(state, only)
    assert set(entry.ours) == only
    del state["embed.weight"]
    with pytest.raises(CheckpointError, match=r"embed\.weight"):
        weights.plan(state, only)
