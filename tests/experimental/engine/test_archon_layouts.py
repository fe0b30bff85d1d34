# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""ArchonEngine on several ranks: every layout gives the numbers of one process."""

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from areal.api.alloc_mode import ModelAllocation
from areal.api.cli_args import ArchonEngineConfig
from areal.trainer.train_group import TrainGroup
from areal.utils.errors import ConfigError, WorkerDied
from tests.distributed import run_ranks
from tests.engine.tiny import (
    FT_SPEC,
    SEQ_LENS,
    make_batch,
    micro_batches,
    num_trained_tokens,
    rows_of,
    tiny_config,
    weighted_loss,
)
from tests.experimental.engine.helpers import assert_close_by_name, make_archon, save_tiny_archon

ROWS = {1: [list(range(8))], 2: [[4], [0, 1, 2, 3, 5, 6, 7]]}
"""Rows of each data-parallel rank; one has a single sequence and fills up with dummies."""


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_archon(tmp_path_factory.mktemp("tiny") / "model", num_hidden_layers=2)


def train_two_steps(rank: int, world_size: int, config: Any, backend: str, batch: Any) -> Any:
    strategy = ModelAllocation.from_str(backend).parallel
    engine = make_archon(config, backend)
    rows = ROWS[strategy.dp_size][strategy.data_rank(rank)]
    part = rows_of(batch, rows)
    assert engine.data_parallel_rank == strategy.data_rank(rank)
    assert engine.data_parallel_world_size == strategy.dp_size
    results = []
    for _ in range(2):
        results.append(engine.train_batch(part, weighted_loss, num_trained_tokens))
        engine.step_lr_scheduler()
    evaluated = float(engine.eval_batch(part, weighted_loss, num_trained_tokens))
    logprobs = engine.forward_batch(part)
    weights = dict(engine.state_iter())
    num_parameters = engine.num_parameters
    engine.destroy()
    return results, evaluated, (rows, logprobs), weights, num_parameters


def assert_same_as_one_process(config: Any, backend: str, batch: Any, tolerance: float = 2e-5) -> None:
    expected = train_two_steps(0, 1, config, "archon:d1", batch)
    strategy = ModelAllocation.from_str(backend).parallel
    for got in run_ranks(train_two_steps, strategy.world_size, config, backend, batch):
        for ours, alone in zip(got[0], expected[0], strict=True):
            assert {**ours, "num_micro_batches": 0} == pytest.approx({**alone, "num_micro_batches": 0}, rel=tolerance)
        assert got[1] == pytest.approx(expected[1], rel=tolerance)
        rows, logprobs = got[2]
        for row, values in zip(rows, logprobs, strict=True):
            length = SEQ_LENS[row]
            torch.testing.assert_close(values[:length], expected[2][1][row, :length], rtol=0.0, atol=1e-4)
        assert_close_by_name(got[3], expected[3], tolerance)
        assert got[4] == expected[4]


@pytest.mark.parametrize("backend", ["archon:d2", "archon:d1t2", "archon:d1c2", "archon:d2t2", "archon:d1c2t2"])
def test_train_batch_layout_of_dense_model_changes_nothing(model_path: str, backend: str):
    config = tiny_config(model_path, mb_spec=micro_batches(2))
    assert_same_as_one_process(config, backend, make_batch(SEQ_LENS))


@pytest.fixture(scope="module")
def moe_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four experts, two chosen, a layer each with and without them."""
    return save_tiny_archon(
        tmp_path_factory.mktemp("tiny") / "moe",
        "qwen3_moe",
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        norm_topk_prob=True,
        mlp_only_layers=[0],
    )


@pytest.mark.parametrize(
    ("backend", "changes"),
    [
        ("archon:p2", {"pp_schedule": "1F1B"}),
        ("archon:p2", {"pp_schedule": "Interleaved1F1B"}),
        ("archon:p2", {"pp_schedule": "InterleavedZeroBubble"}),
        ("archon:p2", {"pp_schedule": "ZBVZeroBubble"}),
        ("archon:d2p2", {"pp_schedule": "1F1B"}),
        ("archon:p2c2", {"pp_schedule": "1F1B"}),
    ],
)
def test_train_batch_pipeline_changes_nothing(tmp_path: Path, backend: str, changes: dict[str, Any]):
    path = save_tiny_archon(tmp_path / "model", num_hidden_layers=4)
    config = tiny_config(path, mb_spec=micro_batches(3), archon=ArchonEngineConfig(**changes))
    assert_same_as_one_process(config, backend, make_batch(SEQ_LENS))


@pytest.mark.parametrize(
    "backend",
    [
        "archon:d2e2",
        "archon:(attn:d1t2|ffn:d1e2)",
        "archon:(attn:d2t2|ffn:d2t2)",
        "archon:p2",
        "archon:(attn:c2|ffn:e2)",
    ],
)
def test_train_batch_layout_of_experts_changes_nothing(moe_path: str, backend: str):
    # Auxiliary losses see how a batch is cut, so the z-loss stands for them: it is a sum over tokens.
    archon = ArchonEngineConfig(moe_z_loss_coeff=0.1, pp_schedule="1F1B")
    config = tiny_config(moe_path, mb_spec=micro_batches(2), archon=archon)
    assert_same_as_one_process(config, backend, make_batch(SEQ_LENS))


def test_train_batch_tensor_pipeline_and_data_parallel_ranks_together_change_nothing(tmp_path: Path):
    path = save_tiny_archon(tmp_path / "model", num_hidden_layers=2)
    config = tiny_config(path, mb_spec=micro_batches(2), archon=ArchonEngineConfig(pp_schedule="1F1B"))
    assert_same_as_one_process(config, "archon:d2t2p2", make_batch(SEQ_LENS))


def _refused(rank: int, world_size: int, config: Any, backend: str) -> str:
    with pytest.raises(ConfigError) as caught:
        make_archon(config, backend)
    return str(caught.value)


@pytest.mark.parametrize(
    ("backend", "changes", "message"),
    [
        ("archon:t4", {}, r"key-value heads .* divisible by tp = 4, got 2"),
        ("archon:p2", {"pp_layers_per_stage": 2}, "number of pipeline stages"),
        ("archon:p4", {"pp_schedule": "1F1B", "pp_first_stage_less_layers": 3}, "first_stage_less_layers"),
        ("archon:d2e2", {}, "expert"),
    ],
)
def test_initialize_layout_that_does_not_fit_the_model_is_refused_on_all_ranks(
    model_path: str, backend: str, changes: dict[str, Any], message: str
):
    config = tiny_config(model_path, archon=ArchonEngineConfig(**changes))
    world_size = ModelAllocation.from_str(backend).world_size
    for text in run_ranks(_refused, world_size, config, backend):
        assert re.search(message, text), text


@pytest.mark.parametrize("backend", ["archon:p2", "archon:d2p2"])
def test_train_batch_tied_embeddings_in_a_pipeline_change_nothing(tmp_path: Path, backend: str):
    path = save_tiny_archon(tmp_path / "model", num_hidden_layers=2, tie_word_embeddings=True)
    config = tiny_config(path, mb_spec=micro_batches(2), archon=ArchonEngineConfig(pp_schedule="1F1B"))
    assert_same_as_one_process(config, backend, make_batch(SEQ_LENS))


def test_initialize_tied_embeddings_with_both_ends_on_one_rank_are_refused(tmp_path: Path):
    path = save_tiny_archon(tmp_path / "model", num_hidden_layers=4, tie_word_embeddings=True)
    config = tiny_config(path, archon=ArchonEngineConfig(pp_schedule="ZBVZeroBubble"))
    for text in run_ranks(_refused, 2, config, "archon:p2"):
        assert "different ranks for tied embeddings, got ZBVZeroBubble" in text


def _too_long(rank: int, world_size: int, config: Any, backend: str) -> str:
    engine = make_archon(config, backend)
    lengths = [5, 300] if rank == 0 else [7]
    with pytest.raises(ConfigError) as caught:
        engine.forward_batch(make_batch(lengths))
    return str(caught.value)


def test_forward_batch_sequence_over_the_limit_on_one_rank_raises_on_all(model_path: str):
    for text in run_ranks(_too_long, 2, tiny_config(model_path), "archon:d2"):
        assert "at most 256 tokens" in text and "got one of 300" in text


@pytest.mark.parametrize("backend", ["archon:d2", "archon:d1t2", "archon:d1c2", "archon:p2", "archon:(attn:d2|ffn:e2)"])
def test_train_batch_bfloat16_in_every_layout_stays_near_one_process(moe_path: str, backend: str):
    archon = ArchonEngineConfig(pp_schedule="1F1B")
    config = tiny_config(moe_path, dtype="bfloat16", mb_spec=micro_batches(2), archon=archon)
    batch = make_batch(SEQ_LENS)
    expected = train_two_steps(0, 1, config, "archon:d1", batch)
    for got in run_ranks(train_two_steps, 2, config, backend, batch):
        assert [step["loss"] for step in got[0]] == pytest.approx([step["loss"] for step in expected[0]], rel=1e-2)
        assert {tensor.dtype for tensor in got[3].values()} == {torch.bfloat16}


@pytest.mark.parametrize("backend", ["archon:d2", "archon:d1t2", "archon:d1c2"])
def test_train_batch_prefixes_shared_or_not_change_nothing_in_any_layout(model_path: str, backend: str):
    batch = make_batch(SEQ_LENS)
    batch["input_ids"][[1, 3, 4, 6], :10] = batch["input_ids"][1, :10].clone()
    assert_same_as_one_process(tiny_config(model_path, mb_spec=micro_batches(2)), backend, batch)


def test_rank_that_dies_in_a_step_ends_the_group_with_its_name(model_path: str, tmp_path: Path):
    config = tiny_config(model_path, backend="archon:d1t2")
    worker = "areal.trainer.train_worker:LMWorker"
    group = TrainGroup.start(
        worker, "archon:d1t2", (config, FT_SPEC, 1, None), name="actor", log_dir=tmp_path / "workers"
    )
    try:
        batch = [rows_of(make_batch(SEQ_LENS), [row]) for row in range(len(SEQ_LENS))]
        for sample in batch:
            sample["loss_mask"] = sample["attention_mask"].int()
        assert group.call_split("train_lm", batch)[0]["update_successful"] == 1.0
        os.kill(group._workers.health()[1].pid, signal.SIGKILL)
        with pytest.raises(WorkerDied, match="1"):
            group.call_split("train_lm", batch)
    finally:
        group.close()
