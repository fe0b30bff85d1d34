# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Supervised fine-tuning: the step loop over batches of a dataset.

A user's script builds the datasets and calls `SFTTrainer(config, train, valid).train()`. The trainer owns the loop and
nothing heavy; ranks live behind a `TrainGroup`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from areal.api.alloc_mode import ModelAllocation, check_backend_available, usable_gpus
from areal.api.cli_args import SFTConfig
from areal.api.engine_api import Trajectory
from areal.trainer.run import TrainingRun, finetune_spec, num_tokens
from areal.trainer.train_group import TrainGroup
from areal.utils.data import collate_samples_to_list
from areal.utils.dataloader import Indexable, create_dataloader

WORKER = "areal.trainer.train_worker:LMWorker"


class SFTTrainer:
    """Trains `config.actor` on token ids with a loss mask (`input_ids`, `loss_mask` of each item). A context manager."""

    def __init__(self, config: SFTConfig, train_dataset: Indexable, valid_dataset: Indexable | None = None) -> None:
        check_backend_available(ModelAllocation.from_str(config.actor.backend), usable_gpus(config.cluster))
        self.config = config
        self._loader = create_dataloader(train_dataset, config.train_dataset, config.seed, collate_samples_to_list)
        self._valid_loader = None
        if valid_dataset is not None and config.valid_dataset is not None:
            self._valid_loader = create_dataloader(
                valid_dataset, config.valid_dataset, config.seed, collate_samples_to_list
            )
        ft_spec = finetune_spec(config, self._loader)
        with contextlib.ExitStack() as stack:
            self.run = stack.enter_context(TrainingRun(config, ft_spec, {"model": config.actor.path}))
            self._group = TrainGroup.start(
                WORKER,
                config.actor.backend,
                (config.actor, ft_spec, config.seed, config.perf_tracer),
                name="actor",
                log_dir=self.run.dir / "workers",
            )
            stack.enter_context(self._group)
            self._saver_calls = self._group.saver_calls(config.saver, config.tokenizer_path)
            self.run.resume({"actor": self._load_state}, {"data": self._loader})
            self.run.summary["num_parameters"] = self._group.call("num_parameters")
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._stack.__exit__(*exc_info)

    def close(self) -> None:
        """End the ranks and write the summary. Idempotent."""
        self._stack.close()

    def train(self) -> None:
        """Train to the end of the run, from its start or from its newest recovery checkpoint; a finished run is left alone."""
        batches = self._batches()
        if self.run.start_step == 0:
            self.run.evaluator.evaluate_before_train(self._evaluate)
        for step in self.run.steps():
            with self.run.timed("load_bcast", "io"):
                batch = next(batches)
            self._group.call_split("train_lm", batch)
            self._group.call("set_version", step.global_step + 1)
            self.run.evaluate_and_save(step, self._evaluate, *self._saver_calls)
            self.run.commit(step, self._group.export_stats(), num_tokens(batch))
            self.run.checkpoint(
                step, {"actor": self._save_state}, {"data": self._loader}, {"actor": step.global_step + 1}
            )

    def save_model(self, path: str | Path) -> None:
        """Write the model and its tokenizer as a `from_pretrained` directory."""
        self._group.call("save_model", str(path), self.config.tokenizer_path)

    def _batches(self) -> Iterator[list[Trajectory]]:
        while True:
            yield from self._loader

    def _evaluate(self) -> None:
        for batch in self._valid_loader or ():
            self._group.call_split("evaluate_lm", batch)

    def _save_state(self, path: str) -> None:
        self._group.call("save_state", path)

    def _load_state(self, path: str) -> None:
        self._group.call("load_state", path)
