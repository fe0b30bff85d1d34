# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a person sees while a run goes on: one dense line a step, a bar on a terminal, and the reason of every long wait.

    step 12/200 | v13 | 8.4s (roll 5.1 wait 0.2 train 2.9 sync 0.2) | reward 0.62±.05 | lag 0.9/2 | ent 1.31 | klx 4e-4
    | 21k tok/s | bound: train

The trainer owns one `ProgressReporter` and gives it the row it commits to `StatsLogger`. Fields keep their order and are
left out when their statistic is missing, so that lines stay greppable. `roll` overlaps the others; lag is mean/max.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from areal.utils import stat_keys as keys
from areal.utils.printing import short_duration, short_number

if TYPE_CHECKING:
    from rich.progress import Progress

# Below this a phase would print as 0.0.
_VISIBLE_S = 0.05
DEFAULT_WAIT_S = 30.0

_ADVICE = {
    "rollout": "the trainer waits for rollouts: add generation capacity, shorten gconfig.max_new_tokens, or allow more "
    "overlap with rollout.max_head_offpolicyness",
    "train": "training is the slower side: add training ranks, or raise actor.mb_spec.max_tokens_per_mb",
    "check": "the trainer waits for the log-prob probe, 0.5 s a step at most: keep servers from being full, or train on "
    "larger batches",
    "sync": "weight updates dominate: put the checkpoint path on a faster disk, or train on larger batches",
    "save": "saving dominates: raise saver.freq_steps or recover.freq_steps",
    "eval": "evaluation dominates: raise evaluator.freq_steps or shrink the validation set",
}


def phase_seconds(row: Mapping[str, float]) -> dict[str, float]:
    """Seconds the trainer spent in each phase of a step, by the name used for the bottleneck; absent phases are 0."""
    return {
        "rollout": row.get(keys.ROLLOUT_S, 0.0),
        "train": sum(row.get(key, 0.0) for key in keys.TRAIN_PHASES_S),
        "check": sum(row.get(key, 0.0) for key in keys.CHECK_PHASES_S),
        "sync": row.get(keys.SYNC_S, 0.0),
        "save": sum(row.get(key, 0.0) for key in keys.SAVE_PHASES_S),
        "eval": row.get(keys.EVAL_S, 0.0),
    }


def bottleneck(row: Mapping[str, float]) -> str | None:
    """The longest phase of a step, or None when no phase was timed."""
    phases = phase_seconds(row)
    longest = max(phases, key=lambda name: phases[name])
    return longest if phases[longest] > 0 else None


def explain_bottleneck(row: Mapping[str, float]) -> str | None:
    """One sentence: the share of the bottleneck, and what to do about it. None when the step was not timed."""
    name, step_s = bottleneck(row), row.get(keys.STEP_S, 0.0)
    if name is None or step_s <= 0:
        return None
    return f"{min(phase_seconds(row)[name] / step_s, 1.0):.0%} of the time goes to {name}: {_ADVICE[name]}"


def step_line(row: Mapping[str, float], total_steps: int | None = None) -> str:
    """The line of a step from the row committed for it; `row` also needs `global_step`."""
    total = f"/{total_steps}" if total_steps else ""
    fields = [f"step {int(row[keys.GLOBAL_STEP])}{total}"]
    if keys.VERSION in row:
        fields.append(f"v{int(row[keys.VERSION])}")
    fields += _time_fields(row)
    reward = row.get(keys.REWARD, row.get(keys.REWARD_ROLLOUT))
    if reward is not None:
        sem = f"±{row[keys.REWARD_SEM]:.2f}".replace("±0.", "±.") if keys.REWARD_SEM in row else ""
        fields.append(f"reward {reward:.2f}{sem}")
    if keys.LAG_MEAN in row:
        most = f"/{row[keys.LAG_MAX]:.0f}" if keys.LAG_MAX in row else ""
        fields.append(f"lag {row[keys.LAG_MEAN]:.1f}{most}")
    for label, key in (("loss", keys.SFT_LOSS), ("ppl", keys.SFT_PPL), ("ent", keys.ENTROPY)):
        if key in row:
            fields.append(f"{label} {short_number(row[key])}")
    if keys.MISMATCH_KL in row:
        fields.append(f"klx {short_number(row[keys.MISMATCH_KL], digits=1)}")
    if keys.TOKENS_PER_S in row:
        fields.append(f"{short_number(row[keys.TOKENS_PER_S], digits=2)} tok/s")
    fields += _eval_fields(row)
    bound = bottleneck(row)
    if bound is not None:
        fields.append(f"bound: {bound}")
    broken = [name for name in keys.INVARIANTS if row.get(keys.invariant_ok(name), 1.0) < 1.0]
    if broken:
        fields.append(f"BROKEN: {' '.join(broken)}")
    return " | ".join(fields)


def closing_lines(summary: Mapping[str, Any], run_dir: Path) -> list[str]:
    """What a run came to, for the terminal: `summary` is that of summary.json, whose missing fields are left out."""
    steps = f"{summary['status']}: {summary['num_steps']} steps in {short_duration(summary['wall_s'])}"
    fields = [steps]
    if "tokens_per_s" in summary:
        fields.append(f"{short_number(summary['tokens_per_s'], digits=2)} tok/s")
    if "trainer_wait_share" in summary:
        fields.append(f"trainer waited {summary['trainer_wait_share']:.0%} of the time")
    if "overlap_share" in summary:
        fields.append(f"rollouts in flight {summary['overlap_share']:.0%} of its work")
    lines = [" | ".join(fields)]
    if after := summary.get("accuracy_after"):
        before = summary.get("accuracy_before") or {}
        parts = [
            f"{kind} {f'{before[kind]:.1%} → ' if kind in before else ''}{after[kind]:.1%}"
            for kind in ("greedy", "sampled")
        ]
        lines.append(f"held-out accuracy ({after['num_problems']} problems): {', '.join(parts)}")
    lines.append(f"run directory: {run_dir}")
    lines.append(f"for curves, time line and rollouts: areal report {shlex.quote(str(run_dir))}")
    return lines


def _time_fields(row: Mapping[str, float]) -> list[str]:
    if keys.STEP_S not in row:
        return []
    phases = phase_seconds(row)
    parts = [
        ("roll", row.get(keys.GENERATION_S)),
        ("wait", row.get(keys.ROLLOUT_S)),
        ("train", phases["train"] or None),
    ]
    parts += [("sync", row.get(keys.SYNC_S))]
    parts += [(name, phases[name]) for name in ("check", "save", "eval") if phases[name] >= _VISIBLE_S]
    timed = " ".join(f"{name} {seconds:.1f}" for name, seconds in parts if seconds is not None)
    return [f"{row[keys.STEP_S]:.1f}s ({timed})" if timed else f"{row[keys.STEP_S]:.1f}s"]


def _eval_fields(row: Mapping[str, float]) -> list[str]:
    if keys.SFT_EVAL_LOSS in row:
        return [f"eval loss {short_number(row[keys.SFT_EVAL_LOSS])}"]
    named = (("greedy", keys.EVAL_GREEDY), ("sampled", keys.EVAL_SAMPLED))
    parts = [f"{row[key]:.2f} {name}" for name, key in named if key in row]
    if not parts and keys.EVAL_REWARD in row:
        parts = [f"{row[keys.EVAL_REWARD]:.2f}"]
    return [f"eval {' '.join(parts)}"] if parts else []


class ProgressReporter:
    """Writes step lines and waits to `stream` (standard output); with a bar below them when that is a terminal.

    Use as a context manager around the step loop; the bar disappears at the end, the lines stay.
    """

    def __init__(self, total_steps: int, *, first_step: int = 0, stream: TextIO | None = None) -> None:
        self._total_steps = total_steps
        self._first_step = first_step
        self._stream = stream or sys.stdout
        self._bar: Progress | None = None

    def __enter__(self) -> ProgressReporter:
        if self._stream.isatty():
            self._bar = _open_bar(self._stream)
            self._bar.add_task("training", total=self._total_steps, completed=self._first_step)
            self._bar.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def step(self, row: Mapping[str, float]) -> None:
        """Report a finished step: its line, and the bar moves on."""
        self.write(step_line(row, self._total_steps))
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=int(row[keys.GLOBAL_STEP]) + 1)

    def write(self, line: str) -> None:
        """Write one line above the bar."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            self._stream.write(f"{line}\n")
            self._stream.flush()

    @contextlib.contextmanager
    def waiting(self, what: str, reason: Callable[[], str], every_s: float = DEFAULT_WAIT_S) -> Iterator[None]:
        """While the block runs longer than `every_s` seconds, write `waiting for {what}` and why, again and again.

        `reason` is called on another thread and must neither block nor raise.
        """
        done = threading.Event()
        start_s = time.monotonic()

        def explain() -> None:
            while not done.wait(every_s):
                self.write(f"waiting {short_duration(time.monotonic() - start_s)} for {what}: {reason()}")

        # A daemon, so that an interpreter that ends inside the block does not wait for it.
        watcher = threading.Thread(target=explain, name="progress-wait", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def _open_bar(stream: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(file=stream), transient=True)
