# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The head of the report: how the run ended, its numbers in one row, the bottleneck in one sentence, the five invariants."""

from __future__ import annotations

import datetime
import math
import statistics
from dataclasses import dataclass
from typing import Any

from areal.cli.report.load import Run
from areal.utils import stat_keys as keys
from areal.utils.printing import short_duration, short_number
from areal.utils.progress import explain_bottleneck
from areal.utils.run_totals import RunTotals

_STATUSES = {"finished": "good", "failed": "bad", "interrupted": "warn"}
_CONFIG_FACTS = (
    ("model", "actor.path"),
    ("train backend", "actor.backend"),
    ("rollout backend", "rollout.backend"),
    ("learning rate", "actor.optimizer.lr"),
    ("prompts a step", "train_dataset.batch_size"),
    ("samples a prompt", "gconfig.n_samples"),
    ("max new tokens", "gconfig.max_new_tokens"),
    ("temperature", "gconfig.temperature"),
    ("max staleness", "rollout.max_head_offpolicyness"),
)
_INVARIANT_TEXTS = {
    "tokens": ("Tokens", "the ids trained on are the ids the engine sampled", "ids differ"),
    "weights": ("Weights", "after each sync the servers hold the trainer's weights", "servers differ"),
    "logprobs": ("Log-probs", "engine and trainer agree on log-probs", "worst mismatch KL"),
    "denominators": ("Denominators", "the loss is independent of batching and ranks", "worst relative error"),
    "data_order": ("Data order", "each sample is consumed once, in order", "repeated or skipped"),
}


@dataclass(frozen=True)
class Tile:
    """One number of the head with its label and a line of context."""

    label: str
    value: str
    hint: str = ""


def header(run: Run) -> dict[str, Any]:
    """Title, status and the facts line."""
    status, kind, cause = _status(run)
    experiment = run.config.get("experiment_name") or run.run_dir.parent.name
    trial = run.config.get("trial_name") or run.run_dir.name
    facts = [("seed", run.summary.get("seed", run.config.get("seed")))]
    facts += [(label, _lookup(run.config, path)) for label, path in _CONFIG_FACTS]
    if "num_parameters" in run.summary:
        facts.append(("parameters", short_number(float(run.summary["num_parameters"]))))
    started = run.summary.get("started_unix_s") or _first_moment(run)
    return {
        "experiment": str(experiment),
        "trial": str(trial),
        "status": status,
        "status_kind": kind,
        "cause": cause,
        "started": _utc(started) if started else "",
        "facts": [(label, str(value)) for label, value in facts if value not in (None, "")],
        "versions": _mapping(run.summary.get("version_info")),
        "bottleneck": explain_bottleneck(_mean_row(run)),
    }


def tiles(run: Run) -> list[Tile]:
    """The row of numbers; a tile without data says so rather than disappear, so that reports compare at a glance."""
    steps = run.rows[-1][keys.GLOBAL_STEP] - run.rows[0][keys.GLOBAL_STEP] + 1 if run.rows else 0
    common = [
        Tile("steps", f"{steps:.0f}", _versions_hint(run)),
        Tile("wall time", short_duration(_wall_s(run)) if _wall_s(run) else "–", _step_hint(run)),
        _throughput_tile(run),
    ]
    if run.is_supervised:
        return [*common, _change_tile(run, "loss", keys.SFT_LOSS), _change_tile(run, "validation", keys.SFT_EVAL_LOSS)]
    totals = RunTotals()
    for row in run.rows:
        totals.add(row)
    shares = totals.summary()
    return [
        *common,
        _change_tile(run, "reward", keys.REWARD if run.series(keys.REWARD) else keys.REWARD_ROLLOUT),
        _eval_tile(run),
        Tile("overlap", _percent(shares.get("overlap_share")), "of the trainer's work with rollouts in flight"),
        Tile("trainer waits", _percent(shares.get("trainer_wait_share")), "of its time for rollouts"),
        _lag_tile(run),
    ]


def invariants(run: Run) -> list[dict[str, str]]:
    """Verdict on each of the invariants over the whole run: held, broken (since which step), or not measured.

    Without rollouts there is nothing that the other four could compare.
    """
    verdicts = []
    for name in ("denominators",) if run.is_supervised else keys.INVARIANTS:
        title, meaning, measure_text = _INVARIANT_TEXTS[name]
        checks = run.series(keys.invariant_ok(name))
        broken = [int(step) for step, ok in checks if not ok >= 1.0]
        measures = [value for _, value in run.series(keys.INVARIANT_MEASURES[name])]
        worst = max(measures, key=lambda value: math.inf if math.isnan(value) else value, default=None)
        if broken:
            verdict, detail = "fail", f"broken in {len(broken)} of {len(checks)} steps, first in step {broken[0]}"
        elif checks:
            verdict, detail = "pass", f"held in {len(checks)} of {len(run.rows)} steps"
        else:
            verdict, detail = "none", "measured, without a verdict" if measures else "not measured"
        measured = f"{measure_text}: {short_number(worst)}" if worst is not None else ""
        verdicts.append({"title": title, "meaning": meaning, "verdict": verdict, "detail": detail, "measure": measured})
    return verdicts


def _status(run: Run) -> tuple[str, str, str]:
    """(word, colour, cause)."""
    status = run.summary.get("status")
    if isinstance(status, str):
        return status, _STATUSES.get(status, "warn"), str(run.summary.get("cause") or "")
    if not run.rows:
        return "no steps", "warn", "Nothing was trained yet: the run is starting, or it ended before its first step."
    last = int(run.rows[-1][keys.GLOBAL_STEP])
    return "no summary", "warn", f"The run is still going on, or it was killed after step {last}."


def _change_tile(run: Run, label: str, key: str) -> Tile:
    values = [value for _, value in run.series(key)]
    if not values:
        return Tile(label, "–", "not recorded")
    window = max(len(values) // 10, 1)
    first, last = statistics.fmean(values[:window]), statistics.fmean(values[-window:])
    steps = "step" if window == 1 else f"{window} steps"
    return Tile(label, f"{first:.2f} → {last:.2f}", f"first and last {steps}")


def _eval_tile(run: Run) -> Tile:
    candidates = [(kind, [point[:2] for point in run.eval_series(kind)]) for kind in keys.EVAL_KEYS]
    for name, points in [*candidates, ("", run.series(keys.EVAL_REWARD))]:
        if points:
            best_step, best = max(points, key=lambda point: point[1])
            label = f"eval, {name}" if name else "eval"
            where = "before training" if best_step < 0 else f"at step {best_step:.0f}"
            return Tile(label, f"{points[0][1]:.2f} → {points[-1][1]:.2f}", f"best {best:.2f} {where}")
    return Tile("eval", "–", "no evaluation ran")


def _throughput_tile(run: Run) -> Tile:
    rates = [value for _, value in run.series(keys.TOKENS_PER_S)]
    if rates:
        return Tile("tokens / s", short_number(statistics.median(rates)), "median step, trained sequences")
    rate = run.summary.get("tokens_per_s")
    return (
        Tile("tokens / s", short_number(float(rate)), "whole run") if rate else Tile("tokens / s", "–", "not recorded")
    )


def _lag_tile(run: Run) -> Tile:
    means, most = run.series(keys.LAG_MEAN), run.series(keys.LAG_MAX)
    if not means:
        return Tile("staleness", "–", "not recorded")
    limit = run.last(keys.LAG_LIMIT)
    value = f"{statistics.fmean(v for _, v in means):.1f}"
    highest = f" / {max(v for _, v in most):.0f}" if most else ""
    return Tile("staleness", value + highest, "mean / max" + (f", limit {limit:.0f}" if limit is not None else ""))


def _versions_hint(run: Run) -> str:
    version = run.last(keys.VERSION)
    return f"policy version {version:.0f}" if version is not None else ""


def _wall_s(run: Run) -> float:
    wall_s = run.summary.get("wall_s")
    if isinstance(wall_s, int | float):
        return float(wall_s)
    first, last = _first_moment(run), run.last(keys.UNIX_TIME_S)
    return last - first if first is not None and last is not None else 0.0


def _step_hint(run: Run) -> str:
    times = [value for _, value in run.series(keys.STEP_S)]
    return f"median step {short_duration(statistics.median(times))}" if times else ""


def _first_moment(run: Run) -> float | None:
    """When the first recorded step began."""
    if not run.rows or keys.UNIX_TIME_S not in run.rows[0]:
        return None
    return run.rows[0][keys.UNIX_TIME_S] - run.rows[0].get(keys.STEP_S, 0.0)


def _mean_row(run: Run) -> dict[str, float]:
    """Mean of every timing over the timed steps (an absent phase took no time), for the bottleneck of the whole run."""
    timed = [row for row in run.rows if keys.STEP_S in row]
    timings = {key for row in timed for key in row if key.startswith("timeperf/")}
    return {key: statistics.fmean(row.get(key, 0.0) for row in timed) for key in timings}


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _lookup(config: dict[str, Any], path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _utc(unix_s: float) -> str:
    moment = datetime.datetime.fromtimestamp(unix_s, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
