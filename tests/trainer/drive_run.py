# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A training script as a user writes one, for tests that start it, kill it and start it again.

`DRIVE_KILL=trainer:package.module:Class.method@n` kills this process (-9) when the n-th call of a method returns, `@-n` when
it begins; `server:...` kills the inference servers there; several orders are separated by spaces. A signal from outside
would have to be lucky to hit such a point.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from areal import PPOTrainer, run_script
from areal.api.cli_args import GRPOConfig, load_expr_config
from areal.dataset.arithmetic import make_problems
from areal.trainer.data_order import DataOrder
from areal.utils.jsonl import to_line


@dataclass
class DriveConfig(GRPOConfig):
    reward_fn: str = "tests.trainer.tiny_rewards.hashed_reward"
    workflow: str = "areal.workflow.rlvr.RLVRWorkflow"


def kill_hard(victim: str) -> None:
    """SIGKILL this process (`trainer`) or its inference servers (`server`)."""
    if victim == "trainer":
        os.kill(os.getpid(), signal.SIGKILL)
    for process in psutil.Process().children(recursive=True):
        if "areal.engine.native.server" in process.cmdline():
            process.kill()


def install_kill(order: str) -> None:
    """See the module docstring."""
    victim, module_name, place = order.split(":")
    place, _, count = place.partition("@")
    class_name, _, method_name = place.partition(".")
    owner = importlib.import_module(module_name).__dict__[class_name]
    method = owner.__dict__[method_name]
    calls = itertools.count(1)

    @functools.wraps(method)
    def counted(*args: Any, **kwargs: Any) -> Any:
        call = next(calls)
        if call == -int(count):
            kill_hard(victim)
        result = method(*args, **kwargs)
        if call == int(count):
            kill_hard(victim)
        return result

    setattr(owner, method_name, counted)


class RecordedOrder(DataOrder):
    """Also writes down what is consumed, where no restart can forget it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.step = 0

    def consume(self, task_ids: Sequence[int]) -> dict[str, float]:
        with self._path.open("a") as file:
            file.write(to_line({"step": self.step, "task_ids": list(task_ids)}))
        self.step += 1
        return super().consume(task_ids)


def main(argv: list[str]) -> None:
    config, _ = load_expr_config(argv, DriveConfig)
    for order in os.environ.get("DRIVE_KILL", "").split():
        install_kill(order)
    dataset = [
        {"messages": [{"role": "user", "content": problem.question}], "answer": problem.worked_answer}
        for problem in make_problems("train", "rl", 24)
    ]
    kwargs = {"gconfig": config.gconfig, "tokenizer": config.tokenizer_path, "reward_fn": config.reward_fn}
    with PPOTrainer(config, dataset) as trainer:
        order = RecordedOrder(Path(config.cluster.fileroot, "consumed.jsonl"))
        order.load_state_dict(trainer._order.state_dict())
        order.step, trainer._order = trainer.run.start_step, order
        trainer.train(workflow=config.workflow, workflow_kwargs=kwargs)


if __name__ == "__main__":
    sys.exit(run_script(main))
