# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest
import torch
from torch import Tensor

from areal.api.cli_args import FSDPEngineConfig, OptimizerConfig
from areal.api.io_struct import SaveLoadMeta
from areal.engine.fsdp_engine import FSDPEngine
from areal.utils.errors import ConfigError
from tests.distributed import run_ranks
from tests.engine.tiny import (
    OPTIMIZER,
    SEQ_LENS,
    SGD,
    make_batch,
    make_engine,
    micro_batches,
    num_trained_tokens,
    rows_of,
    save_tiny_model,
    tiny_config,
    weighted_loss,
)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def _train_two_steps(rank: int, world_size: int, config: Any, batch: Any, rows: list[list[int]]) -> Any:
    engine = make_engine(config)
    results = []
    for _ in range(2):
        results.append(engine.train_batch(rows_of(batch, rows[rank]), weighted_loss, num_trained_tokens))
        engine.step_lr_scheduler()
    evaluated = engine.eval_batch(rows_of(batch, rows[rank]), weighted_loss, num_trained_tokens)
    logprobs = engine.forward_batch(rows_of(batch, rows[rank]))
    weights = dict(engine.state_iter())
    engine.destroy()
    return results, float(evaluated), logprobs, weights


RANK_ROWS = {
    1: [[0, 1, 2, 3, 4, 5, 6, 7]],
    2: [[4], [0, 1, 2, 3, 5, 6, 7]],  # one rank has a single sequence and fills up with dummies
    4: [[0, 1], [2, 5], [3, 4], [6, 7]],
}


@pytest.mark.parametrize(("world_size", "optimizer"), [(2, SGD), (2, OPTIMIZER), (4, OPTIMIZER)])
def test_train_batch_number_of_ranks_changes_nothing(model_path: str, world_size: int, optimizer: OptimizerConfig):
    batch = make_batch(SEQ_LENS)
    config = tiny_config(model_path, optimizer=optimizer, mb_spec=micro_batches(2))
    expected = _train_two_steps(0, 1, config, batch, RANK_ROWS[1])
    for rank, got in enumerate(run_ranks(_train_two_steps, world_size, config, batch, RANK_ROWS[world_size])):
        for ours, alone in zip(got[0], expected[0]):
            assert ours["loss"] == pytest.approx(alone["loss"], rel=2e-6)
            assert ours["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-5)
            assert (ours["lr"], ours["loss_weight"]) == (alone["lr"], alone["loss_weight"])
        assert got[1] == pytest.approx(expected[1], rel=5e-6)
        for row, logprobs in zip(RANK_ROWS[world_size][rank], got[2]):
            length = SEQ_LENS[row]
            torch.testing.assert_close(logprobs[:length], expected[2][row, :length], rtol=0.0, atol=1e-4)
        for name, tensor in expected[3].items():
            torch.testing.assert_close(got[3][name], tensor, rtol=0.0, atol=2e-5, msg=name)


def test_train_batch_rank_whose_tokens_are_all_masked_changes_nothing(model_path: str):
    batch = make_batch(SEQ_LENS)
    batch["loss_mask"][[0, 1, 2, 3]] = 0
    config = tiny_config(model_path, optimizer=SGD)
    expected = _train_two_steps(0, 1, config, batch, [[4, 5, 6, 7]])
    for got in run_ranks(_train_two_steps, 2, config, batch, [[0, 1, 2, 3], [4, 5, 6, 7]]):
        assert got[0][1]["loss"] == pytest.approx(expected[0][1]["loss"], rel=2e-6)


@pytest.mark.parametrize(
    "changes", [{"init_from_scratch": True}, {"fsdp": FSDPEngineConfig(memory_efficient_load=True)}]
)
def test_initialize_every_way_gives_all_ranks_the_same_model(model_path: str, changes: dict[str, Any]):
    batch = make_batch(SEQ_LENS)
    results = run_ranks(_logprobs_with_seed_of_rank, 2, tiny_config(model_path, optimizer=None, **changes), batch)
    torch.testing.assert_close(results[0], results[1], rtol=0.0, atol=1e-6)
    if "fsdp" in changes:
        expected = make_engine(tiny_config(model_path)).forward_batch(batch)
        torch.testing.assert_close(results[0], expected, rtol=0.0, atol=2e-6)


def _logprobs_with_seed_of_rank(rank: int, world_size: int, config: Any, batch: Any) -> Tensor:
    torch.manual_seed(rank)
    return make_engine(config).forward_batch(batch)


def _train_muon(rank: int, world_size: int, config: Any, batch: Any) -> list[float]:
    engine = make_engine(config)
    rows = [[0, 1, 2, 3], [4, 5, 6, 7]][rank] if world_size == 2 else list(range(8))
    part = rows_of(batch, rows)
    return [engine.train_batch(part, weighted_loss, num_trained_tokens)["loss"] for _ in range(4)]


def test_train_batch_muon_on_two_ranks_follows_one_rank(model_path: str):
    config = tiny_config(model_path, optimizer=OptimizerConfig(type="muon", lr=3e-3, warmup_steps=0))
    batch = make_batch(SEQ_LENS)
    alone = _train_muon(0, 1, config, batch)
    # Muon's Newton-Schulz iteration runs in bfloat16: sharded products round otherwise.
    for losses in run_ranks(_train_muon, 2, config, batch):
        assert losses == pytest.approx(alone, rel=5e-3)


def _forward_between_updates(rank: int, world_size: int, config: Any, batch: Any, path: str) -> Any:
    engine = make_engine(config)
    part = rows_of(batch, RANK_ROWS[world_size][rank])
    engine.forward_batch(part)
    losses = [engine.train_batch(part, weighted_loss, num_trained_tokens)["loss"] for _ in range(2)]
    engine.forward_batch(part)
    engine.load(SaveLoadMeta(path=path, weight_format="hf"))
    return losses, float(engine.eval_batch(part, weighted_loss, num_trained_tokens))


def test_forward_batch_between_updates_and_loads_never_sees_old_weights(model_path: str):
    # FSDP leaves the root's parameters gathered after a forward without backward.
    batch = make_batch(SEQ_LENS)
    config = tiny_config(model_path, optimizer=SGD)
    expected = _forward_between_updates(0, 1, config, batch, model_path)
    for got in run_ranks(_forward_between_updates, 2, config, batch, model_path):
        assert got[0] == pytest.approx(expected[0], rel=2e-6)
        assert got[1] == pytest.approx(got[0][0], rel=2e-6)


def _refuse(rank: int, world_size: int, config: Any) -> str:
    from areal.api.alloc_mode import ModelAllocation

    engine = FSDPEngine(config)
    with pytest.raises(ConfigError) as caught:
        engine.create_process_group(ModelAllocation.from_str("fsdp:d1t2").parallel)
    return str(caught.value)


def test_create_process_group_tensor_parallel_is_refused_for_this_release(model_path: str):
    messages = run_ranks(_refuse, 2, tiny_config(model_path))
    assert messages[0] == "expected data parallelism alone, got t2: not in this release; use fsdp:d2"
