# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What runs on one rank of a training role: a training engine with the algorithm on top of it.

`TrainGroup` calls these methods through a `WorkerGroup`, in this process or in one process a rank; every rank gets the
same method at the same time, so methods may contain collectives. A worker never talks to inference servers.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from areal.api.alloc_mode import ModelAllocation
from areal.api.engine_api import TrainEngine, Trajectory
from areal.api.io_struct import FinetuneSpec, SaveLoadMeta
from areal.trainer.ppo.actor import PPOActor
from areal.trainer.ppo.stats import record_mismatch
from areal.trainer.sft.lm_engine import LMEngine
from areal.utils import perf_tracer, stats_tracker
from areal.utils.checkpoint_dir import write_weights
from areal.utils.data import to_prediction_alignment
from areal.utils.hf_utils import load_hf_tokenizer
from areal.utils.rollout_dump import choose_best_and_worst, make_records, sample_scores
from areal.utils.seeding import set_random_seed

if TYPE_CHECKING:
    from areal.api.cli_args import PerfTracerConfig, PPOActorConfig, TrainEngineConfig

ENGINES = {
    "archon": ("areal.experimental.engine.archon_engine", "ArchonEngine"),
    "fsdp": ("areal.engine.fsdp_engine", "FSDPEngine"),
}
"""Backend name of a training engine -> (module, class)."""

NUM_RECORDS = 4
"""Samples a step that are recorded token by token: enough to see a best and a worst pair, a few milliseconds to make."""


def build_engine(config: TrainEngineConfig, ft_spec: FinetuneSpec) -> TrainEngine:
    """The initialised engine that `config.backend` names, on this rank."""
    allocation = ModelAllocation.from_str(config.backend)
    module, name = ENGINES[allocation.backend]
    engine = importlib.import_module(module).__dict__[name](config)
    engine.create_process_group(allocation.parallel)
    engine.initialize(None, ft_spec)
    return engine


@contextlib.contextmanager
def _timed(name: str) -> Iterator[None]:
    """Time a phase of the step on this rank, in the statistics and on the time line."""
    with stats_tracker.record_timing(name), perf_tracer.trace_scope(name, "compute"):
        yield


class TrainWorker:
    """One rank of a trained role: what every algorithm needs besides its update."""

    def __init__(
        self, config: TrainEngineConfig, ft_spec: FinetuneSpec, seed: int, perf_config: PerfTracerConfig | None
    ) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        set_random_seed(seed, f"trainer{self.rank}")
        if perf_config is not None and not perf_tracer.is_configured():
            perf_tracer.configure(perf_config, rank=self.rank, role="trainer")
        self.config = config
        self.engine = build_engine(config, ft_spec)

    def save_model(self, path: str, tokenizer_path: str, in_background: bool = False) -> None:
        """Write a `from_pretrained` directory with the tokenizer in it, perhaps while training goes on."""
        tokenizer = load_hf_tokenizer(tokenizer_path)
        meta = SaveLoadMeta(path=path, weight_format="hf", tokenizer=tokenizer, in_background=in_background)
        self.engine.save(meta)

    def finish_saves(self) -> None:
        """Wait for what is written in the background."""
        self.engine.finish_saves()

    def save_state(self, path: str) -> None:
        """Write model, optimizer, LR schedule and RNG, sharded, for an exact continuation."""
        self.engine.save(SaveLoadMeta(path=path, weight_format="dcp", with_optim=True))

    def load_state(self, path: str) -> None:
        """Continue from what `save_state` wrote."""
        self.engine.load(SaveLoadMeta(path=path, weight_format="dcp", with_optim=True))

    def export_weights(self, path: str) -> dict[str, Any] | None:
        """Write the weights for inference servers; rank 0 returns `{"checksum", "index"}`, the others None."""
        if self.rank == 0:
            return write_weights(path, self.engine.state_iter())
        for _ in self.engine.state_iter():  # the gather of each tensor is collective
            pass
        return None

    def num_parameters(self) -> int:
        """Parameters of the whole model."""
        return self.engine.num_parameters

    def set_version(self, version: int) -> None:
        """Label the current weights."""
        self.engine.set_version(version)

    def export_stats(self) -> dict[str, float]:
        """Statistics since the last export, reduced over ranks."""
        return self.engine.export_stats()

    def save_trace(self, step: int) -> None:
        """Flush trace events to disk."""
        perf_tracer.save(step=step)

    def close(self) -> None:
        """Leave the process group and release the model."""
        self.engine.destroy()


class LMWorker(TrainWorker):
    """One rank of supervised fine-tuning."""

    def __init__(
        self, config: TrainEngineConfig, ft_spec: FinetuneSpec, seed: int, perf_config: PerfTracerConfig | None
    ) -> None:
        super().__init__(config, ft_spec, seed, perf_config)
        self.lm = LMEngine(self.engine)

    def train_lm(self, samples: list[Trajectory]) -> dict[str, float]:
        """One optimizer step on this rank's share of the batch, then one step of the LR schedule."""
        with _timed("train_step"):
            result = self.lm.train_lm(samples)
            self.engine.step_lr_scheduler()
        return result

    def evaluate_lm(self, samples: list[Trajectory]) -> None:
        """Record the loss of this rank's share of a validation batch."""
        self.lm.evaluate_lm(samples)


def count_token_mismatches(trajectories: list[Trajectory]) -> int:
    """Rows whose token ids are not the ones the engine replied with (`token_crc [b]`): the *tokens* invariant."""
    mismatches = 0
    for trajectory in trajectories:
        ids = trajectory["input_ids"].numpy()
        lengths = trajectory["attention_mask"].sum(-1).tolist()
        trained = trajectory["loss_mask"].any(-1).tolist()  # the dummy of an empty rank trains nothing
        for row, length, crc, is_trained in zip(ids, lengths, trajectory["token_crc"].tolist(), trained, strict=True):
            mismatches += is_trained and zlib.crc32(np.ascontiguousarray(row[:length], dtype=np.int32)) != crc
    return mismatches


class ActorWorker(TrainWorker):
    """One rank of the actor, with the frozen reference policy beside it where KL needs one."""

    def __init__(
        self,
        config: PPOActorConfig,
        ref_config: TrainEngineConfig | None,
        ft_spec: FinetuneSpec,
        seed: int,
        perf_config: PerfTracerConfig | None,
        record_tokenizer_path: str | None,
    ) -> None:
        super().__init__(config, ft_spec, seed, perf_config)
        self.actor = PPOActor(config, self.engine)
        self.ref = PPOActor(config, build_engine(ref_config, ft_spec)) if ref_config is not None else None
        self.record_tokenizer = load_hf_tokenizer(record_tokenizer_path) if record_tokenizer_path else None

    def train_on(self, trajectories: list[Trajectory], probe: Sequence[Trajectory] = ()) -> dict[str, Any]:
        """One training step on this rank's share of the batch; `probe` is scored before it, by every rank.

        Returns `stats` (of the update), `token_mismatches` and `records` (per-token records of the best and the worst
        samples, for people; empty unless recording is on).
        """
        with _timed("check_tokens"):
            token_mismatches = count_token_mismatches(trajectories)
        if probe:
            with _timed("score_probe"):
                self._score_probe(list(probe))
        if self.ref is not None:
            with _timed("ref_logp"):
                for trajectory, logp in zip(trajectories, self.ref.compute_logp(trajectories), strict=True):
                    trajectory["ref_logp"] = logp
        if self.actor.config.should_compute_prox_logp():
            with _timed("recompute_logp"):
                for trajectory, logp in zip(trajectories, self.actor.compute_logp(trajectories), strict=True):
                    trajectory["prox_logp"] = logp
        with _timed("compute_advantage"):
            batch = self.actor.compute_advantages(trajectories)
        with _timed("train_step"):
            stats = self.actor.ppo_update(batch)
            self.engine.step_lr_scheduler()
        records: list[dict[str, Any]] = []
        if self.record_tokenizer is not None:
            with _timed("record_samples"):
                records = self._records(batch)
        return {"stats": stats, "token_mismatches": token_mismatches, "records": records}

    def _score_probe(self, probe: list[Trajectory]) -> None:
        """Compare the servers' log-probs of a few fresh tokens with those of the same weights here."""
        logps = self.actor.compute_logp(probe)
        if self.engine.data_parallel_rank > 0:  # every rank scored the same; it counts once
            return
        for sample, logp in zip(probe, logps, strict=True):
            keys = ("logprobs", "loss_mask", "versions")
            behave, mask, versions = (to_prediction_alignment(sample[key]) for key in keys)
            record_mismatch(behave, logp, mask.bool(), versions, self.engine.get_version())

    def _records(self, batch: list[Trajectory]) -> list[dict[str, Any]]:
        """Per-token records of this rank's best and worst samples, with log-probs of the weights after the update."""
        rows = [(trajectory, row) for trajectory in batch for row in range(len(trajectory["rewards"]))]
        samples = []
        for index, _ in choose_best_and_worst(sample_scores(batch), NUM_RECORDS):
            trajectory, row = rows[index]
            sample = {key: value[row : row + 1] for key, value in trajectory.items()}
            samples.append({**sample, "sample_idx": torch.tensor([row])})
        for sample, logp in zip(samples, self.actor.compute_logp(samples), strict=True):
            sample["new_logp"] = logp
        return make_records(samples, self.record_tokenizer, step=self.engine.get_version(), limit=NUM_RECORDS)

    def close(self) -> None:
        """Release both models."""
        if self.ref is not None:
            self.ref.engine.destroy()
        super().close()
