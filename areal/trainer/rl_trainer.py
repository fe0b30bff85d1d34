# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Asynchronous policy-gradient training: the step loop of PPO, GRPO and their relatives.

A user's script builds the datasets and calls `PPOTrainer(config, train, valid).train(workflow=...)`. In each step the
rollout engine hands over a batch (generation goes on meanwhile), the actor trains on it, and its weights go to the servers
as the next version. The trainer owns the loop and nothing heavy: ranks live behind a `TrainGroup`, servers and the rollout
executor behind `Inference`.
"""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import Any, Self

from areal.api.alloc_mode import ModelAllocation, check_backend_available, usable_gpus
from areal.api.cli_args import PPOConfig
from areal.api.engine_api import AcceptFn, Trajectory
from areal.api.io_struct import StepInfo
from areal.api.workflow_api import WorkflowLike
from areal.trainer.data_order import DataOrder
from areal.trainer.evaluation import EvalTask, Evaluation
from areal.trainer.inference import Inference
from areal.trainer.logprob_probe import LogprobProbe, judge_mismatch
from areal.trainer.run import TrainingRun, finetune_spec, num_tokens
from areal.trainer.train_group import TrainGroup
from areal.utils import stat_keys
from areal.utils.cpu_backend import without_measuring
from areal.utils.dataloader import Indexable, create_dataloader
from areal.utils.errors import ConfigError
from areal.utils.recover import Stateful
from areal.utils.rollout_dump import dump_step, step_path

WORKER = "areal.trainer.train_worker:ActorWorker"


class PPOTrainer:
    """Trains `config.actor` on rollouts of itself. Use as a context manager."""

    def __init__(self, config: PPOConfig, train_dataset: Indexable, valid_dataset: Indexable | None = None) -> None:
        check_can_train(config)
        self.config = config
        self._loader = create_dataloader(train_dataset, config.train_dataset, config.seed)
        self._valid_loader = None
        if valid_dataset is not None and config.valid_dataset is not None:
            self._valid_loader = create_dataloader(valid_dataset, config.valid_dataset, config.seed)
        self._order = DataOrder()
        self._evaluation = Evaluation()
        ft_spec = finetune_spec(config, self._loader)
        record_tokenizer = config.tokenizer_path if config.rollout.dump_to_file else None
        with contextlib.ExitStack() as stack:
            self.run = stack.enter_context(TrainingRun(config, ft_spec, {"model": config.actor.path}))
            if config.rollout.deterministic_sampling:
                stack.enter_context(without_measuring())
            self._inference = Inference(config, self.run.dir)
            if not self.run.is_finished:
                stack.enter_context(self._inference)
            self._group = TrainGroup.start(
                WORKER,
                config.actor.backend,
                (config.actor, config.ref, ft_spec, config.seed, config.perf_tracer, record_tokenizer),
                name="actor",
                log_dir=self.run.dir / "workers",
            )
            stack.enter_context(self._group)
            self._saver_calls = self._group.saver_calls(config.saver, config.tokenizer_path)
            info = self.run.resume({"actor": self._load_state}, self._parts())
            self._version = info.versions["actor"] if info is not None else 0
            self._group.call("set_version", self._version)
            self.run.summary["num_parameters"] = self._group.call("num_parameters")
            if not self.run.is_finished:
                self._inference.connect(self._group, self._version)
                self._probe = LogprobProbe(self._inference.eval_rollout, config.gconfig)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._stack.__exit__(*exc_info)

    def close(self) -> None:
        """End servers and ranks and write the summary. Idempotent."""
        self._stack.close()

    def train(
        self,
        workflow: WorkflowLike,
        eval_workflow: WorkflowLike | None = None,
        workflow_kwargs: dict[str, Any] | None = None,
        eval_workflow_kwargs: dict[str, Any] | None = None,
        dynamic_filter_fn: AcceptFn | str | None = None,
    ) -> None:
        """Train to the end of the run, from its start or from its newest recovery checkpoint; a finished run is left alone.

        `dynamic_filter_fn(trajectory) -> bool` rejects groups before training. Evaluation runs `eval_workflow` (default:
        `workflow`) on the validation data; a `gconfig` among its arguments is replaced by `config.eval_gconfig`.
        """
        if self.run.is_finished:
            return
        eval_task = self._eval_task(eval_workflow or workflow, eval_workflow_kwargs or workflow_kwargs or {})
        if self.run.start_step == 0 and eval_task is not None:
            self.run.evaluator.evaluate_before_train(lambda: self._evaluate(eval_task))
        for step in self.run.steps():
            row: dict[str, float] = {}
            batch = self._next_batch(workflow, workflow_kwargs, dynamic_filter_fn, row)
            self._train_on(batch, step, row)
            self._publish_weights(batch, row)
            self.run.evaluate_and_save(step, partial(self._evaluate_into, row, eval_task), *self._saver_calls)
            self._commit(step, row, batch)
        if self._evaluation.measured_at != self._version:
            self._evaluate(eval_task)
        self.run.summary |= self._evaluation.summary()

    def save_model(self, path: str | Path) -> None:
        """Write the actor and its tokenizer as a `from_pretrained` directory."""
        self._group.call("save_model", str(path), self.config.tokenizer_path)

    def _next_batch(
        self,
        workflow: WorkflowLike,
        workflow_kwargs: dict[str, Any] | None,
        accept_fn: AcceptFn | str | None,
        row: dict[str, float],
    ) -> list[Trajectory]:
        rollout = self._inference.rollout
        with self.run.timed("rollout", "sync"), self.run.progress.waiting("rollouts", rollout.executor.wait_reason):
            batch = rollout.prepare_batch(
                self._loader,
                workflow,
                workflow_kwargs,
                accept_fn,
                group_size=self.config.gconfig.n_samples,
                dynamic_bs=self.config.dynamic_bs,
                drop_incomplete_group=self.config.gconfig.drop_incomplete_group,
            )
        row.update(self._order.consume([int(trajectory["task_ids"][0]) for trajectory in batch]))
        return batch

    def _train_on(self, batch: list[Trajectory], step: StepInfo, row: dict[str, float]) -> None:
        with self.run.timed("collect_probe", "sync"):
            probe = self._probe.collect()
        answers = self._group.call_split("train_on", batch, probe)
        mismatches = sum(answer["token_mismatches"] for answer in answers)
        row[stat_keys.INVARIANT_MEASURES["tokens"]] = float(mismatches)
        row[stat_keys.invariant_ok("tokens")] = float(mismatches == 0)
        records = [record for answer in answers for record in answer["records"]]
        if records:
            with self.run.timed("dump_samples", "io"):
                dump_step(step_path(self.run.dir, step.global_step), [{**r, "step": step.global_step} for r in records])

    def _publish_weights(self, batch: list[Trajectory], row: dict[str, float]) -> None:
        """The actor's weights become the next version, on the servers and in the staleness account."""
        self._version += 1
        with self.run.timed("update_weights", "comm"):
            row.update(self._inference.publish(self._version))
            self._group.call("set_version", self._version)
        self._probe.start(batch)

    def _commit(self, step: StepInfo, row: dict[str, float], batch: list[Trajectory]) -> None:
        row.update(self._group.export_stats())
        row.update(self._inference.export_stats())
        judge_mismatch(row)
        row[stat_keys.VERSION] = float(self._version)
        row[stat_keys.LAG_LIMIT] = float(self.config.rollout.max_head_offpolicyness)
        self.run.commit(step, row, num_tokens(batch))
        self.run.checkpoint(step, {"actor": self._save_state}, self._parts(), {"actor": self._version})

    def _evaluate(self, task: EvalTask | None) -> dict[str, float]:
        return self._evaluation.measure(self._inference.eval_rollout, task, self._version) if task else {}

    def _evaluate_into(self, row: dict[str, float], task: EvalTask | None) -> None:
        row.update(self._evaluate(task))

    def _eval_task(self, workflow: WorkflowLike, workflow_kwargs: dict[str, Any]) -> EvalTask | None:
        if self._valid_loader is None:
            return None
        return EvalTask(
            loader=self._valid_loader,
            workflow=workflow,
            workflow_kwargs=workflow_kwargs,
            gconfig=self.config.eval_gconfig,
        )

    def _parts(self) -> dict[str, Stateful]:
        return {"data": self._loader, "data_order": self._order, "evaluation": self._evaluation}

    def _save_state(self, path: str) -> None:
        self._group.call("save_state", path)

    def _load_state(self, path: str) -> None:
        self._group.call("load_state", path)


def check_can_train(config: PPOConfig) -> None:
    """Raise `ConfigError` before anything starts when this machine or this config cannot train."""
    if config.actor.optimizer is None:
        raise ConfigError("actor.optimizer: expected an optimizer to train with, got null; set actor.optimizer.lr=...")
    num_gpus = usable_gpus(config.cluster)
    for backend in (config.actor.backend, config.rollout.backend):
        check_backend_available(ModelAllocation.from_str(backend), num_gpus)
