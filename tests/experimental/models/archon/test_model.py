# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from areal.experimental.models.archon.contexts.packed import PackedContext
from areal.experimental.models.archon.model import ArchonModel, ModelPart
from areal.experimental.models.archon.model_spec import get_model_spec
from tests.experimental.models.archon.tiny_models import tiny_model


def archon_of(model: PreTrainedModel) -> ArchonModel:
    spec = get_model_spec(model.config.model_type)
    args = spec.model_args_class.from_hf_config(model.config)
    decoder = spec.model_class(args)
    decoder.load_state_dict(spec.state_dict_adapter_class(args).from_hf(dict(model.state_dict())), strict=True)
    return decoder


def logits_of(decoder: ArchonModel, rows: Tensor, positions: Tensor | None = None) -> Tensor:
    """Logits `[B, S, V]` of rows of equal length, packed."""
    num_rows, length = rows.shape
    positions = torch.arange(length).repeat(num_rows) if positions is None else positions.expand(num_rows, -1).flatten()
    cu_seqlens = torch.arange(num_rows + 1, dtype=torch.int32) * length
    logits = decoder(rows.flatten()[None], positions[None], cu_seqlens, length)
    return logits.unflatten(1, (num_rows, length)).squeeze(0)


def tokens(rows: int = 3, length: int = 40) -> Tensor:
    return torch.randint(0, 61, (rows, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3", "gemma2"])
def test_logits_in_bfloat16_are_as_exact_as_those_of_transformers(model_type: str) -> None:
    overrides = {"tie_word_embeddings": True}
    model = tiny_model(model_type, **overrides).bfloat16()
    decoder = archon_of(model).bfloat16()
    ids = tokens()

    with torch.no_grad():
        exact = tiny_model(model_type, **overrides).bfloat16().float()(ids).logits
        expected, got = model(ids).logits, logits_of(decoder, ids)

    theirs, ours = (expected.float() - exact).pow(2).mean().sqrt(), (got.float() - exact).pow(2).mean().sqrt()
    assert ours < 1.3 * theirs, f"bf16 error {ours:.4f} of ours, {theirs:.4f} of transformers"


@torch.no_grad()
def test_given_positions_shift_the_rotation() -> None:
    model = tiny_model("qwen2")
    ids, positions = tokens(2, 9), torch.arange(9)[None] * 3 + 5

    got = logits_of(archon_of(model), ids, positions)

    torch.testing.assert_close(got, model(ids, position_ids=positions).logits, atol=2e-4, rtol=1e-4)


@torch.no_grad()
def test_stages_one_after_the_other_equal_the_whole() -> None:
    whole = archon_of(tiny_model("qwen3", num_hidden_layers=3))
    state = whole.state_dict()
    ids = tokens(1, 20)[0]
    context = PackedContext.of(whole.args, torch.tensor([0, 12, 20], dtype=torch.int32), 12)
    positions = torch.cat((torch.arange(12), torch.arange(8)))

    x = ids
    for part in (ModelPart(0, 1, True, False), ModelPart(1, 2, False, False), ModelPart(2, 3, False, True)):
        stage = ArchonModel(whole.args, part)
        stage.load_state_dict({name: state[name] for name in stage.state_dict()})
        x = stage.run(x, positions, context)

    torch.testing.assert_close(x, whole.run(ids, positions, context), atol=1e-6, rtol=1e-6)


def test_tied_embeddings_are_held_by_the_stages_of_both_ends() -> None:
    args = archon_of(tiny_model("qwen2", tie_word_embeddings=True)).args

    first, last = ArchonModel(args, ModelPart(0, 1, True, False)), ArchonModel(args, ModelPart(1, 2, False, True))

    assert {"tok_embeddings.weight"} == {name for name in first.state_dict() if name in last.state_dict()}
    assert last.head_weight is last.get_parameter("tok_embeddings.weight")


def test_initial_weights_leave_no_parameter_as_it_was() -> None:
    args = archon_of(tiny_model("qwen2")).args
    with torch.device("meta"):
        decoder = ArchonModel(args)
    decoder.to_empty(device="cpu")
    with torch.no_grad():
        for param in decoder.parameters():
            param.fill_(torch.nan)

    decoder.init_weights()

    assert all(param.isfinite().all() for param in decoder.parameters())


def test_init_buffers_moves_buffers_and_leaves_parameters_where_they_are() -> None:
    experts = {
        "first_k_dense_replace": 1,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
    }
    decoder = archon_of(tiny_model("deepseek_v3", num_key_value_heads=4, **experts))
    decoder.init_buffers(torch.device("meta"))
    buffers = dict(decoder.named_buffers())
    assert {"ropes.default.signed_freq", "layers.1.moe.router.expert_bias"} <= buffers.keys()
    assert {buffer.device.type for buffer in buffers.values()} == {"meta"}
    assert {param.device.type for param in decoder.parameters()} == {"cpu"}
