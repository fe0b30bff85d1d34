# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One run of a trainer, apart from what is trained: its directory, its steps, its records, its checkpoints.

`PPOTrainer` and `SFTTrainer` each own a `TrainingRun`. It knows when something is due and where it goes; what a step does,
what an export writes and what an evaluation measures are the trainer's. The order at the end of a step is evaluation,
export, record, recovery checkpoint: a resumed run never lacks the row of a step that it will not train again.
The last step is always checkpointed, so that the same command given once more finds the run finished and leaves it alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from areal.api.cli_args import BaseExperimentConfig, conf_as_dict, save_config
from areal.api.engine_api import Trajectory
from areal.api.io_struct import FinetuneSpec, StepInfo
from areal.utils import perf_tracer, stat_keys, stats_tracker
from areal.utils.dataloader import SampleLoader
from areal.utils.evaluator import Evaluator
from areal.utils.fs import hold_lock
from areal.utils.heap import frozen_heap
from areal.utils.logging import getLogger, setup_file_logging
from areal.utils.process import rss_bytes
from areal.utils.progress import ProgressReporter, closing_lines
from areal.utils.recover import RecoverHandler, RecoverInfo, Stateful
from areal.utils.run_totals import RunTotals
from areal.utils.saver import Saver
from areal.utils.seeding import set_random_seed
from areal.utils.stats_logger import StatsLogger

logger = getLogger("trainer")

StateCall = Callable[[str], object]


def finetune_spec(config: BaseExperimentConfig, loader: SampleLoader) -> FinetuneSpec:
    """The size of the run that `config` describes on the data of `loader`."""
    batch_size = config.train_dataset.batch_size
    return FinetuneSpec(
        config.total_train_epochs, len(loader) * batch_size, batch_size, max_train_steps=config.total_train_steps
    )


def num_tokens(batch: Sequence[Trajectory]) -> int:
    """Tokens of the sequences of a batch, prompts included."""
    return sum(int(trajectory["attention_mask"].sum()) for trajectory in batch)


class TrainingRun:
    """Directory, statistics, progress, export, evaluation and recovery of one run. Use as a context manager.

    `fingerprint` says what a resumed run must have in common with the one that was stopped. With `is_finished` there is
    nothing left to do: no step, no evaluation, no summary.
    """

    def __init__(self, config: BaseExperimentConfig, ft_spec: FinetuneSpec, fingerprint: Mapping[str, Any]) -> None:
        self.config = config
        self.ft_spec = ft_spec
        self.total_steps = ft_spec.total_train_steps
        self.stats_logger = StatsLogger(config, ft_spec, conf_as_dict(config))
        self.dir = self.stats_logger.run_dir
        self.saver = Saver(config.saver, ft_spec)
        self.evaluator = Evaluator(config.evaluator, ft_spec)
        self.recover = RecoverHandler(config.recover, ft_spec, fingerprint)
        self.progress = ProgressReporter(self.total_steps)
        self.start_step = 0
        self.summary: dict[str, Any] = {"seed": config.seed, "model": config.actor.path}
        self.is_finished = False
        self._has_begun = False
        self._stack = contextlib.ExitStack()
        self._totals = RunTotals()
        self._started_s = time.monotonic()  # moved back by what the run took before it was resumed
        self._step_started_s = 0.0

    def __enter__(self) -> Self:
        self._stack.enter_context(hold_lock(self.dir / ".lock"))
        setup_file_logging(self.dir)
        if self.config.perf_tracer.enabled and not perf_tracer.is_configured():
            perf_tracer.configure(self.config.perf_tracer, rank=0, role="controller")
        set_random_seed(self.config.seed, "controller")
        self.is_finished = self._was_finished()
        if self.is_finished:
            logger.info(
                "the run is finished: all %d steps are done, see %s. To go on, raise total_train_steps or "
                "total_train_epochs; for a new run, choose another trial_name",
                self.total_steps,
                self.dir,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: object) -> None:
        is_interrupted = isinstance(error, KeyboardInterrupt)
        status = "finished" if error is None else "interrupted" if is_interrupted else "failed"
        cause = {} if error is None else {"cause": f"{type(error).__name__}: {error}"}
        if error is not None and status == "failed":
            logger.error("the run stops: %s", cause["cause"])
        # A start that fails before it resumed (wrong model, no server) says nothing about what an earlier one reached.
        if not self.is_finished and (self._has_begun or not (self.dir / stat_keys.SUMMARY_FILE).exists()):
            self._sum_up(status, cause)
        self.stats_logger.close()
        perf_tracer.save(force=True)
        perf_tracer.reset()
        self._stack.close()

    def _sum_up(self, status: str, cause: dict[str, str]) -> None:
        fields = {"status": status, "wall_s": self._wall_s(), **cause, **self._totals.summary(), **self.summary}
        try:
            written = self.stats_logger.write_summary(**fields)
        except OSError as error:
            if not cause:
                raise
            logger.error("the summary could not be written either: %s", error)  # a full disk stops a run, and then this
            return
        for line in closing_lines(written, self.dir):
            self.progress.write(line)

    def resume(self, roles: Mapping[str, StateCall], parts: Mapping[str, Stateful]) -> RecoverInfo | None:
        """Go on from the newest recovery checkpoint, if there is one; the run begins, and its config is saved."""
        info = self.recover.load(roles=roles, parts=self._parts(parts))
        self._has_begun = True
        save_config(self.config, self.dir)
        if info is not None:
            self.start_step = info.start_step
            logger.info("resuming at step %d of %d", self.start_step, self.total_steps)
        return info

    def steps(self) -> Iterator[StepInfo]:
        """The steps still to do, with the progress bar around them."""
        per_epoch = self.ft_spec.steps_per_epoch
        self._step_started_s = time.perf_counter()
        with self.progress, frozen_heap():
            for global_step in range(self.start_step, self.total_steps):
                with perf_tracer.trace_scope("step", "instr", args={"step": global_step}):
                    yield StepInfo(global_step // per_epoch, global_step % per_epoch, global_step, per_epoch)

    @contextlib.contextmanager
    def timed(self, name: str, category: str = "compute") -> Iterator[None]:
        """Time a phase of the step, in the statistics and on the time line."""
        with stats_tracker.record_timing(name), perf_tracer.trace_scope(name, category):
            yield

    def evaluate_and_save(
        self,
        step: StepInfo,
        evaluate: Callable[[], object],
        export: StateCall,
        finish: Callable[[], object] | None = None,
    ) -> None:
        """Evaluate and export the model if they are due after `step`; both are after the last one. `finish`: see `Saver`."""
        is_last = step.global_step == self.total_steps - 1
        with self.timed("eval"):
            self.evaluator.evaluate(evaluate, step.epoch, step.epoch_step, step.global_step, final=is_last)
        with self.timed("save", "io"):
            self.saver.save(export, step.epoch, step.epoch_step, step.global_step, final=is_last, finish=finish)

    def commit(self, step: StepInfo, row: dict[str, float], num_tokens: int) -> None:
        """Record the row of a finished step and print its line; `num_tokens` of the trained sequences, prompts included.

        A step lasts from the commit before it, so that the steps add up to the time of the run.
        """
        now_s = time.perf_counter()
        step_s, self._step_started_s = now_s - self._step_started_s, now_s
        row |= stats_tracker.export_all()  # of this process; that of a rank in it is exported already
        row[stat_keys.STEP_S] = step_s
        row[stat_keys.TOKENS_PER_S] = num_tokens / step_s
        row[stat_keys.rss_key("controller")] = rss_bytes(os.getpid())
        self._totals.add(row)
        self.stats_logger.commit(step.epoch, step.epoch_step, step.global_step, row)
        self.progress.step({**row, stat_keys.GLOBAL_STEP: step.global_step})

    def checkpoint(
        self, step: StepInfo, roles: Mapping[str, StateCall], parts: Mapping[str, Stateful], versions: Mapping[str, int]
    ) -> None:
        """Write a recovery checkpoint if one is due after `step`; its time counts to the next step."""
        with self.timed("checkpoint_for_recover", "io"):
            is_last = step.global_step == self.total_steps - 1
            self.recover.dump(step, roles=roles, parts=self._parts(parts), versions=versions, force=is_last)
        perf_tracer.save(step=step.global_step)

    def state_dict(self) -> dict[str, Any]:
        """The time of all starts of the run so far: what a kill threw away is not part of it."""
        return {"wall_s": self._wall_s()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._started_s -= state["wall_s"]

    def _wall_s(self) -> float:
        return time.monotonic() - self._started_s

    def _was_finished(self) -> bool:
        """Whether an earlier start of this run did all steps and wrote its summary."""
        path = self.dir / stat_keys.SUMMARY_FILE
        newest_step = self.recover.newest_step()
        if newest_step is None or newest_step < self.total_steps - 1 or not path.exists():
            return False
        summary = json.loads(path.read_text())
        return summary["status"] == "finished" and summary["num_steps"] >= self.total_steps

    def _parts(self, parts: Mapping[str, Stateful]) -> dict[str, Stateful]:
        own = {
            "run": self,
            "totals": self._totals,
            "saver": self.saver,
            "evaluator": self.evaluator,
            "stats_logger": self.stats_logger,
        }
        return {**own, **parts}
