# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The actor on two ranks against the actor in one process: the same batches give the same statistics in every step."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from areal.api.alloc_mode import ModelAllocation
from areal.api.cli_args import ArchonEngineConfig, NormConfig, PPOActorConfig
from areal.api.io_struct import FinetuneSpec
from areal.trainer.train_group import TrainGroup
from areal.utils.data import concat_padded_tensors
from tests.engine.tiny import OPTIMIZER, VOCAB, save_tiny_model

NUM_STEPS = 3
NUM_GROUPS = 5  # does not divide by two ranks
GROUP_SIZE = 4
RANK_COUNTS = ("num_micro_batches", "__count")
SPEC = FinetuneSpec(total_train_epochs=1, dataset_size=NUM_STEPS * NUM_GROUPS, train_batch_size=NUM_GROUPS)


def make_sample(rng: np.random.Generator, prompt: list[int], task_id: int, version: int) -> dict[str, Tensor]:
    """One sample as a workflow returns it: sampled by nobody, so its log-probs are made up."""
    answer = rng.integers(3, VOCAB, rng.integers(2, 12)).tolist()
    ids = prompt + answer
    trained = [0] * len(prompt) + [1] * len(answer)
    return {
        "input_ids": torch.tensor([ids], dtype=torch.int32),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.bool),
        "loss_mask": torch.tensor([trained], dtype=torch.int32),
        "logprobs": torch.tensor([[-4.0 * mask + 0.3 * mask * float(rng.random()) for mask in trained]]),
        "versions": torch.tensor([[version if mask else -1 for mask in trained]], dtype=torch.int32),
        "rewards": torch.tensor([float(rng.random() < 0.5)]),
        "truncated": torch.tensor([bool(rng.random() < 0.2)]),
        "token_crc": torch.tensor([zlib.crc32(np.array(ids, dtype=np.int32))]),
        "task_ids": torch.tensor([task_id]),
    }


def make_batch(step: int) -> list[dict[str, Tensor]]:
    rng = np.random.default_rng(step)
    groups = []
    for number in range(NUM_GROUPS):
        prompt = rng.integers(3, VOCAB, rng.integers(3, 15)).tolist()
        task_id = step * NUM_GROUPS + number
        groups.append(
            concat_padded_tensors([make_sample(rng, prompt, task_id, max(step - 1, 0)) for _ in range(GROUP_SIZE)])
        )
    return groups


def statistics_of(backend: str, model: str, log_dir: Path) -> list[dict[str, float]]:
    """What each step of a short training exports. The model has two layers, enough for two stages of 1F1B."""
    config = PPOActorConfig(
        experiment_name="exp",
        trial_name="t",
        path=model,
        dtype="float32",
        backend=backend,
        optimizer=OPTIMIZER,
        ppo_n_minibatches=1,
        kl_ctl=0.0,
        reward_norm=NormConfig(mean_level="group", std_level="group", group_size=GROUP_SIZE),
        adv_norm=NormConfig(mean_level="batch", std_level="batch"),
        max_new_tokens=12,
        archon=ArchonEngineConfig(pp_schedule="1F1B"),
    )
    worker = "areal.trainer.train_worker:ActorWorker"
    group = TrainGroup.start(worker, backend, (config, None, SPEC, 1, None, None), name="actor", log_dir=log_dir)
    try:
        assert group.world_size == ModelAllocation.from_str(backend).world_size
        group.call("export_stats")  # of whatever this process did before
        rows = []
        for step in range(NUM_STEPS):
            probe = make_sample(np.random.default_rng(step), [5, 6, 7], task_id=0, version=step)
            answers = group.call_split("train_on", make_batch(step), [probe])
            assert sum(answer["token_mismatches"] for answer in answers) == 0
            group.call("set_version", step + 1)
            rows.append(group.call("export_stats"))
        return rows
    finally:
        group.close()


@pytest.fixture(autouse=True)
def same_matmul(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AREAL_CPU_MATMUL", "mkl")


@pytest.mark.parametrize("backend", ["fsdp:d2", "archon:d1", "archon:d2", "archon:d1t2", "archon:p2"])
def test_actor_on_two_ranks_has_the_statistics_of_one(tmp_path: Path, backend: str) -> None:
    model = save_tiny_model(tmp_path / "model", tie_word_embeddings=False)
    alone = statistics_of("fsdp:d1", model, tmp_path)
    together = statistics_of(backend, model, tmp_path)
    assert len({row["ppo_actor/update/actor_loss/avg"] for row in alone}) == NUM_STEPS, (
        "every step has a loss of its own"
    )
    for step, (one, two) in enumerate(zip(alone, together, strict=True)):
        assert one.keys() == two.keys()
        # Micro-batches and samples of a mean are counted on each rank, and time is time.
        compared = [key for key in one if not key.startswith("timeperf/") and not key.endswith(RANK_COUNTS)]
        assert len(compared) > 60
        for key in compared:
            assert two[key] == pytest.approx(one[key], rel=1e-5, abs=1e-6), (step, key)
