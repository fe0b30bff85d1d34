# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of ArchonEngine: saved under one layout, continued under another; exports; failures on one rank."""

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from areal.api.alloc_mode import ModelAllocation
from areal.api.cli_args import ArchonEngineConfig
from areal.api.io_struct import SaveLoadMeta
from areal.engine.core.engine import CoreTrainEngine
from areal.utils.errors import CheckpointError
from tests.distributed import run_ranks
from tests.engine.tiny import SEQ_LENS, make_batch, num_trained_tokens, rows_of, tiny_config, weighted_loss
from tests.experimental.engine.helpers import make_archon, save_tiny_archon

ROWS = {1: [list(range(8))], 2: [[0, 1, 2, 3], [4, 5, 6, 7]]}


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_archon(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def moe_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_archon(
        tmp_path_factory.mktemp("tiny") / "moe",
        "qwen3_moe",
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        norm_topk_prob=True,
    )


def config_of(path: str) -> Any:
    return tiny_config(path, archon=ArchonEngineConfig(pp_schedule="1F1B"))


def dcp_meta(path: Path) -> SaveLoadMeta:
    return SaveLoadMeta(path=str(path), weight_format="dcp", with_optim=True)


def train(engine: CoreTrainEngine, num_steps: int, backend: str, rank: int) -> list[dict[str, float]]:
    """Steps on other data each; which data depends on the step of the schedule alone."""
    strategy = ModelAllocation.from_str(backend).parallel
    results = []
    for _ in range(num_steps):
        step = engine._ready.trainable.schedule.current_step
        part = rows_of(make_batch(SEQ_LENS, seed=step), ROWS[strategy.dp_size][strategy.data_rank(rank)])
        results.append(engine.train_batch(part, weighted_loss, num_trained_tokens))
        engine.step_lr_scheduler()
    return results


def save_after_two_steps(
    rank: int, world_size: int, config: Any, backend: str, folder: Path
) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    engine = make_archon(config, backend)
    train(engine, 2, backend, rank)
    engine.set_version(2)
    engine.save(dcp_meta(folder / "dcp"))
    engine.save(SaveLoadMeta(path=str(folder / "hf"), weight_format="hf"))
    weights = dict(engine.state_iter())
    return train(engine, 2, backend, rank), weights


def load_and_continue(
    rank: int, world_size: int, config: Any, backend: str, folder: Path
) -> tuple[list[dict[str, float]], int, dict[str, Tensor]]:
    engine = make_archon(config, backend)
    engine.load(dcp_meta(folder / "dcp"))
    weights = dict(engine.state_iter())
    return train(engine, 2, backend, rank), engine.get_version(), weights


def run(function: Any, backend: str, *args: Any) -> list[Any]:
    world_size = ModelAllocation.from_str(backend).world_size
    if world_size == 1:
        return [function(0, 1, args[0], backend, *args[1:])]
    return run_ranks(function, world_size, args[0], backend, *args[1:])


def assert_continues(path: str, saved_by: str, loaded_by: str, folder: Path) -> None:
    config = config_of(path)
    expected, weights = run(save_after_two_steps, saved_by, config, folder)[0]
    for got, version, loaded in run(load_and_continue, loaded_by, config, folder):
        assert version == 2
        assert loaded.keys() == weights.keys()
        assert all(torch.equal(loaded[name], weights[name]) for name in weights)
        for ours, wanted in zip(got, expected, strict=True):
            assert ours["loss"] == pytest.approx(wanted["loss"], rel=1e-5)
            assert ours["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=5e-5)
            assert ours["lr"] == wanted["lr"]
    hf, info = AutoModelForCausalLM.from_pretrained(folder / "hf", dtype="auto", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert hf.config.torch_dtype == torch.float32


@pytest.mark.parametrize(
    ("saved_by", "loaded_by"),
    [
        ("archon:d1", "archon:d1"),
        ("archon:d2", "archon:d1t2"),
        ("archon:d1t2", "archon:d1"),
        ("archon:p2", "archon:d2"),
        ("archon:d1", "archon:p2"),
        ("archon:d2t2", "archon:p2c2"),
    ],
)
def test_load_dcp_under_another_layout_continues_the_run(
    model_path: str, tmp_path: Path, saved_by: str, loaded_by: str
):
    assert_continues(model_path, saved_by, loaded_by, tmp_path)


@pytest.mark.parametrize(
    ("saved_by", "loaded_by"),
    [
        ("archon:d2e2", "archon:d1"),
        ("archon:d1", "archon:(attn:d1t2|ffn:e2)"),
        ("archon:(attn:t2|ffn:t2)", "archon:p2"),
    ],
)
def test_load_dcp_of_experts_under_another_layout_continues_the_run(
    moe_path: str, tmp_path: Path, saved_by: str, loaded_by: str
):
    assert_continues(moe_path, saved_by, loaded_by, tmp_path)


@pytest.mark.parametrize(("saved_by", "loaded_by"), [("archon:d2p2", "archon:d1"), ("archon:d1t2", "archon:p2")])
def test_load_dcp_of_tied_embeddings_under_another_layout_continues_the_run(
    tmp_path: Path, saved_by: str, loaded_by: str
):
    path = save_tiny_archon(tmp_path / "model", tie_word_embeddings=True)
    assert_continues(path, saved_by, loaded_by, tmp_path)


def _save_where_one_rank_cannot_write(rank: int, world_size: int, config: Any, backend: str, path: Path) -> str:
    engine = make_archon(config, backend)
    engine.save(dcp_meta(path))
    if rank == world_size - 1:
        import torch.distributed.checkpoint.filesystem as filesystem

        def full_disk(*args: Any, **kwargs: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        filesystem._write_files_from_queue = full_disk
    with pytest.raises(CheckpointError) as caught:
        engine.save(dcp_meta(path))
    train(engine, 1, backend, rank)  # no rank is stuck in, or ahead by, a collective
    return str(caught.value)


@pytest.mark.parametrize("backend", ["archon:d1t2", "archon:p2"])
def test_save_dcp_disk_full_on_the_last_rank_raises_on_all(model_path: str, tmp_path: Path, backend: str):
    messages = run(_save_where_one_rank_cannot_write, backend, config_of(model_path), tmp_path / "saved")
    assert all("No space left" in message or "is full" in message for message in messages), messages
    assert (tmp_path / "saved" / ".metadata").is_file()


def _load_what_is_not_there(rank: int, world_size: int, config: Any, backend: str, path: Path) -> str:
    engine = make_archon(config, backend)
    with pytest.raises(CheckpointError) as caught:
        engine.load(SaveLoadMeta(path=str(path), weight_format="hf"))
    return str(caught.value)


def test_load_hf_that_is_not_there_raises_on_all_ranks(model_path: str, tmp_path: Path):
    messages = run(_load_what_is_not_there, "archon:p2", config_of(model_path), tmp_path / "absent")
    assert all("absent" in message for message in messages), messages


def _save_in_background(
    rank: int, world_size: int, config: Any, backend: str, folder: Path
) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    engine = make_archon(config, backend)
    train(engine, 2, backend, rank)
    engine.set_version(2)
    weights = dict(engine.state_iter())
    engine.save(replace(dcp_meta(folder / "dcp"), in_background=True))
    results = train(engine, 1, backend, rank)  # while it is written
    engine.save(SaveLoadMeta(path=str(folder / "hf"), weight_format="hf", in_background=True))
    later = dict(engine.state_iter())
    results += train(engine, 1, backend, rank)
    engine.finish_saves()
    hf = AutoModelForCausalLM.from_pretrained(folder / "hf", dtype="auto").state_dict()
    assert all(torch.equal(hf[name], tensor) for name, tensor in later.items())
    engine.destroy()
    return results, weights


@pytest.mark.parametrize("backend", ["archon:d1", "archon:d2", "archon:p2"])
def test_save_in_background_is_of_the_moment_it_was_asked_for(model_path: str, tmp_path: Path, backend: str):
    config = config_of(model_path)
    expected, weights = run(_save_in_background, backend, config, tmp_path)[0]
    got, version, loaded = run(load_and_continue, "archon:d1", config, tmp_path)[0]
    assert version == 2
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)
    for ours, wanted in zip(got, expected, strict=True):
        assert ours["loss"] == pytest.approx(wanted["loss"], rel=1e-5)


def _fail_in_background(rank: int, world_size: int, config: Any, backend: str, path: Path) -> str:
    engine = make_archon(config, backend)
    engine.save(dcp_meta(path))
    if rank == world_size - 1:
        import torch.distributed.checkpoint.filesystem as filesystem

        def full_disk(*args: Any, **kwargs: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        filesystem._write_files_from_queue = full_disk
    engine.save(replace(dcp_meta(path), in_background=True))
    train(engine, 1, backend, rank)
    with pytest.raises(CheckpointError) as caught:
        engine.finish_saves()
    train(engine, 1, backend, rank)
    engine.destroy()
    return str(caught.value)


@pytest.mark.parametrize("backend", ["archon:d1", "archon:d2"])
def test_save_in_background_disk_full_on_the_last_rank_raises_on_all_at_the_end(
    model_path: str, tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
):
    import torch.distributed.checkpoint.filesystem as filesystem

    monkeypatch.setattr(filesystem, "_write_files_from_queue", filesystem._write_files_from_queue)  # put back after d1
    messages = run(_fail_in_background, backend, config_of(model_path), tmp_path / "saved")
    assert all("No space left" in message or "is full" in message for message in messages), messages
    assert [entry.name for entry in tmp_path.iterdir()] == ["saved"]
    assert (tmp_path / "saved" / ".metadata").is_file()
