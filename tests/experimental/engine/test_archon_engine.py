# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One process of ArchonEngine: the same numbers as FSDPEngine, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from areal.api.cli_args import ArchonEngineConfig, OptimizerConfig
from areal.api.io_struct import SaveLoadMeta
from areal.engine.fsdp_engine import FSDPEngine
from areal.experimental.engine.archon_engine import ArchonEngine
from areal.utils.errors import CheckpointError, ConfigError
from tests.engine.tiny import (
    FT_SPEC,
    SEQ_LENS,
    SGD,
    make_batch,
    micro_batches,
    num_trained_tokens,
    rows_of,
    tiny_config,
    weighted_loss,
)
from tests.experimental.engine.helpers import (
    assert_close_by_name,
    gradients_by_sgd,
    make_archon,
    save_tiny_archon,
    start,
)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_archon(tmp_path_factory.mktemp("tiny") / "model")


def group_batch() -> dict[str, Tensor]:
    """Sequences of which four have a prefix of 10 tokens in common."""
    batch = make_batch(SEQ_LENS)
    batch["input_ids"][[1, 3, 4, 6], :10] = batch["input_ids"][1, :10].clone()
    return rows_of(batch, [1, 3, 4, 6, 0, 2, 5, 7])


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True}),
        ("qwen3", {}),
        ("qwen3_moe", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
        ("gemma2", {"sliding_window": 8, "query_pre_attn_scalar": 8, "tie_word_embeddings": True}),
    ],
    ids=["llama", "llama-tied", "qwen3", "qwen3_moe", "gemma2"],
)
def test_train_batch_gives_the_numbers_of_fsdp_engine(tmp_path: Path, model_type: str, changes: dict[str, Any]):
    path = save_tiny_archon(tmp_path / "model", model_type, **changes)
    config = tiny_config(path, optimizer=SGD, temperature=0.8, mb_spec=micro_batches(2))
    engines = [start(FSDPEngine(config)), make_archon(config)]
    batch = group_batch()
    expected_logprobs, logprobs = (engine.forward_batch(batch) for engine in engines)
    torch.testing.assert_close(logprobs, expected_logprobs, rtol=1e-6, atol=1e-6 * float(expected_logprobs.abs().max()))
    evaluated = [float(engine.eval_batch(batch, weighted_loss, num_trained_tokens)) for engine in engines]
    (expected, expected_grads), (got, grads) = (gradients_by_sgd(engine, batch) for engine in engines)
    assert evaluated[1] == pytest.approx(evaluated[0], rel=1e-6)
    assert {name: got[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert_close_by_name(grads, expected_grads)
    assert ("lm_head.weight" in grads) == (not changes.get("tie_word_embeddings", False))


def test_train_batch_adam_steps_give_the_numbers_of_fsdp_engine(model_path: str):
    config = tiny_config(model_path)
    engines = [start(FSDPEngine(config)), make_archon(config)]
    for step in range(3):
        batch = make_batch(SEQ_LENS, seed=step)
        expected, got = (engine.train_batch(batch, weighted_loss, num_trained_tokens) for engine in engines)
        assert got == pytest.approx(expected, rel=1e-5)
        for engine in engines:
            engine.step_lr_scheduler()


def test_train_batch_bfloat16_stays_near_float32_and_keeps_float32_masters(model_path: str):
    batch = make_batch(SEQ_LENS)
    exact, _ = gradients_by_sgd(make_archon(tiny_config(model_path, optimizer=SGD)), batch)
    engine = make_archon(tiny_config(model_path, optimizer=SGD, dtype="bfloat16"))
    try:
        result = engine.train_batch(batch, weighted_loss, num_trained_tokens)
        assert result["loss"] == pytest.approx(exact["loss"], rel=2e-2)
        assert result["grad_norm"] == pytest.approx(exact["grad_norm"], rel=5e-2)
        assert {tensor.dtype for _, tensor in engine.state_iter()} == {torch.bfloat16}
        assert {param.dtype for param in engine._ready.model.module.parameters()} == {torch.float32}
    finally:
        engine.destroy()


def test_init_from_scratch_learns_the_batch_by_heart(model_path: str):
    torch.manual_seed(0)
    engine = make_archon(
        tiny_config(model_path, init_from_scratch=True, optimizer=OptimizerConfig(lr=1e-2, warmup_steps=0))
    )
    batch = make_batch(SEQ_LENS)
    losses = [engine.train_batch(batch, weighted_loss, num_trained_tokens)["loss"] for _ in range(15)]
    assert losses[0] < 7.5  # the log of the vocabulary, 4.2, times the mean weight of rows, 1.7
    assert losses[-1] < 0.5 * losses[0]


def test_save_hf_is_loaded_by_transformers_and_by_the_engine_itself(model_path: str, tmp_path: Path):
    engine = make_archon(tiny_config(model_path))
    batch = make_batch(SEQ_LENS)
    engine.train_batch(batch, weighted_loss, num_trained_tokens)
    engine.save(SaveLoadMeta(path=str(tmp_path / "saved"), weight_format="hf"))
    hf, info = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype="auto", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    trained = dict(engine.state_iter())
    assert all(torch.equal(param, trained[name]) for name, param in hf.state_dict().items())
    other = make_archon(tiny_config(model_path))
    other.load(SaveLoadMeta(path=str(tmp_path / "saved"), weight_format="hf"))
    assert torch.equal(other.forward_batch(batch), engine.forward_batch(batch))


def test_state_iter_left_early_gives_copies_in_a_fixed_order(model_path: str):
    engine = make_archon(tiny_config(model_path))
    names = [name for name, _ in engine.state_iter()]
    items = engine.state_iter()
    name, tensor = next(items)
    items.close()
    before = tensor.clone()
    engine.train_batch(make_batch(SEQ_LENS), weighted_loss, num_trained_tokens)
    assert name == names[0] and torch.equal(tensor, before)


def _drop(state: dict[str, Tensor]) -> None:
    del state["model.layers.1.mlp.up_proj.weight"]


def _add(state: dict[str, Tensor]) -> None:
    state["model.layers.7.mlp.up_proj.weight"] = torch.zeros(2)


def _misshape(state: dict[str, Tensor]) -> None:
    state["model.norm.weight"] = torch.zeros(31)


def _integers(state: dict[str, Tensor]) -> None:
    state["model.norm.weight"] = torch.zeros(32, dtype=torch.int8)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop, r"missing \['model.layers.1.mlp.up_proj.weight'\]"),
        (_add, r"unknown \['model.layers.7.mlp.up_proj.weight'\]"),
        (_misshape, r"model.norm.weight of shape \[32\], got \[31\]"),
        (_integers, r"model.norm.weight in one of F32, BF16, F16, got I8"),
    ],
)
def test_load_hf_damaged_checkpoint_is_refused_and_changes_nothing(
    model_path: str, tmp_path: Path, damage: Any, message: str
):
    engine = make_archon(tiny_config(model_path))
    before = dict(engine.state_iter())
    state = load_file(Path(model_path) / "model.safetensors")
    damage(state)
    save_file({name: tensor + 1 for name, tensor in state.items()}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        engine.load(SaveLoadMeta(path=str(tmp_path), weight_format="hf"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in engine.state_iter())


def test_train_batch_non_finite_gradient_skips_the_update_and_names_parameters(
    model_path: str, caplog: pytest.LogCaptureFixture
):
    engine = make_archon(tiny_config(model_path))
    before = dict(engine.state_iter())
    with caplog.at_level("WARNING"):
        result = engine.train_batch(
            make_batch(SEQ_LENS), lambda *args: weighted_loss(*args) * float("nan"), num_trained_tokens
        )
    assert (result["update_successful"], result["num_skipped_updates"]) == (0.0, 1.0)
    assert "layers." in caplog.text and "not finite" in caplog.text
    assert all(torch.equal(tensor, before[name]) for name, tensor in engine.state_iter())


def test_batches_that_cannot_be_run_say_why(model_path: str):
    engine = make_archon(tiny_config(model_path))
    with pytest.raises(ConfigError, match=r"at most 256 tokens \(max_position_embeddings.*got one of 300"):
        engine.forward_batch(make_batch([5, 300]))
    empty = {key: value[:0] for key, value in make_batch(SEQ_LENS).items()}
    with pytest.raises(ValueError, match="number of rows must be a positive multiple"):
        engine.forward_batch(empty)


@pytest.mark.parametrize(
    ("backend", "message"),
    [("archon:d2", r"d\*t\*p\*c = 2\*1\*1\*1 = 2, got a group of 1"), ("archon:d1t2", "got a group of 1")],
)
def test_create_process_group_other_number_of_processes_is_refused(model_path: str, backend: str, message: str):
    with pytest.raises(ConfigError, match=message):
        make_archon(tiny_config(model_path), backend)


def test_initialize_family_that_archon_does_not_run_is_refused(tmp_path: Path):
    from transformers import GPT2Config

    GPT2Config().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"model_type must be one of .*llama.*got 'gpt2'; use the HF module"):
        make_archon(tiny_config(str(tmp_path)))


@pytest.mark.parametrize(
    "changes",
    [{"ac_mode": "full"}, {"ac_mode": "selective"}, {"ac_mode": "selective", "selective_ac_option": "2"}],
    ids=["full", "op", "every-2nd"],
)
def test_train_batch_gradient_checkpointing_changes_nothing(model_path: str, changes: dict[str, Any]):
    batch = make_batch(SEQ_LENS)
    expected = gradients_by_sgd(make_archon(tiny_config(model_path, optimizer=SGD)), batch)
    config = tiny_config(model_path, optimizer=SGD, gradient_checkpointing=True, archon=ArchonEngineConfig(**changes))
    got = gradients_by_sgd(make_archon(config), batch)
    assert got[0] == pytest.approx(expected[0], rel=1e-6)
    assert_close_by_name(got[1], expected[1], 1e-6)


@pytest.mark.slow
def test_train_batch_compiled_changes_nothing(model_path: str):
    batch = make_batch(SEQ_LENS)
    expected = gradients_by_sgd(make_archon(tiny_config(model_path, optimizer=SGD)), batch)
    config = tiny_config(model_path, optimizer=SGD, archon=ArchonEngineConfig(enable_compile=True))
    got = gradients_by_sgd(make_archon(config), batch)
    assert got[0] == pytest.approx(expected[0], rel=1e-5)
    assert_close_by_name(got[1], expected[1], 1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float16"}, "bfloat16 or float32 for training, got float16"),
        ({"attn_impl": "sdpa"}, "attn_impl=auto with an archon backend"),
        ({"path": "/nowhere/at/all"}, "HF model .* at '/nowhere/at/all'"),
        (
            {"gradient_checkpointing": True, "archon": ArchonEngineConfig(ac_mode="memory_budget")},
            "compil",
        ),
    ],
)
def test_initialize_unmet_need_raises_with_the_fix(model_path: str, changes: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        make_archon(tiny_config(**{"path": model_path, **changes}))


def test_initialize_damaged_checkpoint_leaves_no_engine_behind(tmp_path: Path):
    path = Path(save_tiny_archon(tmp_path / "model"))
    state = load_file(path / "model.safetensors")
    _drop(state)
    save_file(state, path / "model.safetensors")
    engine = ArchonEngine(tiny_config(str(path)))
    engine.create_process_group()
    with pytest.raises(CheckpointError, match="missing"):
        engine.initialize(None, FT_SPEC)
    with pytest.raises(RuntimeError, match="initialize"):
        engine.forward_batch(make_batch(SEQ_LENS))
    engine.destroy()
