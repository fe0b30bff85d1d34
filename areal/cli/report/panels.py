# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Which curves the report shows, and their data. A panel without any of its statistics is left out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from areal.cli.report.load import Run
from areal.utils import stat_keys as keys
from areal.utils.progress import phase_seconds

# More points than pixels only cost size.
_MAX_POINTS = 1200
_SPARK_POINTS = 60
_Z_95 = 1.96
# A phase that never took this long is rounding, not work.
_VISIBLE_S = 1e-3

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """One line of a panel; `band` gives half the width of its 95 % band by step, `dashed` marks limits."""

    name: str
    points: Points
    band: dict[float, float] = field(default_factory=dict)
    dashed: bool = False


def panel_groups(run: Run) -> list[dict[str, Any]]:
    """The panels with data, in groups, as charts.js draws them."""
    groups = [("Learning", _learning(run)), ("Health", _health(run)), ("Speed", _speed(run))]
    return [{"title": title, "panels": panels} for title, panels in groups if panels]


def all_statistics(run: Run) -> list[dict[str, Any]]:
    """Every key with its first, last, least and greatest value, and a few points for a sparkline."""
    names = dict.fromkeys(key for row in run.rows for key in row)
    position = {keys.GLOBAL_STEP, keys.EPOCH, keys.EPOCH_STEP, keys.UNIX_TIME_S, "log_step"}
    table = []
    for name in sorted(names.keys() - position):
        points = run.series(name)
        finite = [value for _, value in points if math.isfinite(value)]
        table.append(
            {
                "key": name,
                "n": len(points),
                "first": _number(points[0][1]),
                "last": _number(points[-1][1]),
                "min": _number(min(finite, default=math.nan)),
                "max": _number(max(finite, default=math.nan)),
                "spark": [[x, _number(y)] for x, y in _thinned(points, _SPARK_POINTS)],
            }
        )
    return table


def _learning(run: Run) -> list[dict[str, Any]]:
    reward_key = keys.REWARD if run.series(keys.REWARD) else keys.REWARD_ROLLOUT
    reward_band = {step: _Z_95 * sem for step, sem in run.series(keys.REWARD_SEM)}
    return _with_data(
        _panel(
            "Reward", "mean of the batch, 95 % band", [Curve("reward", run.series(reward_key), reward_band)], noisy=True
        ),
        _panel(
            "Evaluation",
            "validation reward, 95 % band; -1: untrained",
            _eval_curves(run),
            markers=True,
        ),
        _panel("Loss", "", _loss_curves(run), noisy=True),
        _panel("Perplexity", "", [Curve("ppl", run.series(keys.SFT_PPL))], noisy=True),
        _panel("Entropy", "nats a token", [Curve("entropy", run.series(keys.ENTROPY))]),
        _panel(
            "Length",
            "tokens, mean",
            [Curve("response", _response_lengths(run)), Curve("prompt", run.series(keys.PROMPT_LEN))],
        ),
        _panel("Learning rate", "", [Curve("lr", run.series(keys.LEARNING_RATE))], exact=True),
    )


def _health(run: Run) -> list[dict[str, Any]]:
    return _with_data(
        _panel(
            "Staleness",
            "versions behind, of trained tokens",
            [
                Curve("mean", run.series(keys.LAG_MEAN)),
                Curve("max", run.series(keys.LAG_MAX)),
                Curve("limit", run.series(keys.LAG_LIMIT), dashed=True),
            ],
        ),
        _panel(
            "Mismatch KL",
            "engine against trainer, same weights",
            [Curve("KL (k3)", run.series(keys.MISMATCH_KL)), Curve("max |Δ log-prob|", run.series(keys.MISMATCH_MAX))],
            log=True,
        ),
        _panel("Gradient norm", "before clipping", [Curve("norm", run.series(keys.GRAD_NORM))], noisy=True),
        _panel(
            "Policy ratio",
            "current / proximal probability",
            [
                Curve("mean", run.series(keys.RATIO_MEAN)),
                Curve("min", run.series(keys.RATIO_MIN)),
                Curve("max", run.series(keys.RATIO_MAX)),
            ],
            log=True,
        ),
        _panel(
            "Shares",
            "of tokens, sequences or groups",
            [
                Curve("clipped tokens", run.series(keys.CLIP_SHARE)),
                Curve("truncated", run.series(keys.TRUNCATED_SHARE)),
                Curve("zero-variance groups", run.series(keys.ZERO_VARIANCE_SHARE)),
            ],
        ),
        _panel("Episodes", "ended since the last step", _outcomes(run)),
    )


def _speed(run: Run) -> list[dict[str, Any]]:
    memory = [
        Curve(name.removeprefix(keys.RSS_PREFIX).removesuffix(keys.RSS_SUFFIX), _scaled(run.series(name), 2**-30))
        for name in sorted({key for row in run.rows for key in row})
        if name.startswith(keys.RSS_PREFIX) and name.endswith(keys.RSS_SUFFIX)
    ]
    return _with_data(
        _panel("Step time by phase", "seconds, as the trainer sees it", _phase_curves(run), stacked=True, wide=True),
        _panel(
            "Throughput",
            "tokens / s",
            [
                Curve("trained", run.series(keys.TOKENS_PER_S)),
                Curve("generated", run.series(keys.GENERATED_TOKENS_PER_S)),
            ],
            from_zero=True,
            noisy=True,
        ),
        _panel(
            "Queue",
            "episodes at the end of the step",
            [Curve("ready", run.series(keys.QUEUE_DEPTH)), Curve("running", run.series(keys.NUM_RUNNING))],
            from_zero=True,
        ),
        _panel("Memory", "GiB, resident", memory, from_zero=True),
    )


def _panel(title: str, hint: str, curves: list[Curve], **options: bool) -> dict[str, Any]:
    shown = [
        {
            "name": curve.name,
            "dashed": curve.dashed,
            "points": [[x, _number(y), *_half_width(curve.band, x)] for x, y in _thinned(curve.points, _MAX_POINTS)],
        }
        for curve in curves
        if curve.points
    ]
    return {"title": title, "hint": hint, "curves": shown, **options}


def _with_data(*panels: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in panels if panel["curves"]]


def _phase_curves(run: Run) -> list[Curve]:
    timed = [row for row in run.rows if keys.STEP_S in row]
    names = {"rollout": "wait", "train": "train", "check": "check", "sync": "sync", "save": "save", "eval": "eval"}
    curves: dict[str, Points] = {name: [] for name in [*names.values(), "other"]}
    for row in timed:
        phases = phase_seconds(row)
        step = row[keys.GLOBAL_STEP]
        for phase, name in names.items():
            curves[name].append((step, phases[phase]))
        curves["other"].append((step, max(row[keys.STEP_S] - sum(phases.values()), 0.0)))
    return [
        Curve(name, points) for name, points in curves.items() if any(seconds >= _VISIBLE_S for _, seconds in points)
    ]


def _outcomes(run: Run) -> list[Curve]:
    kinds = sorted({key for row in run.rows for key in row if key.startswith(keys.OUTCOME_PREFIX)})
    if kinds:
        return [Curve(kind.removeprefix(keys.OUTCOME_PREFIX), run.series(kind)) for kind in kinds]
    return [Curve("accepted", run.series(keys.ACCEPTED)), Curve("rejected", run.series(keys.REJECTED))]


def _response_lengths(run: Run) -> Points:
    rows = [row for row in run.rows if keys.SEQ_LEN in row and keys.PROMPT_LEN in row]
    return [(row[keys.GLOBAL_STEP], row[keys.SEQ_LEN] - row[keys.PROMPT_LEN]) for row in rows]


def _loss_curves(run: Run) -> list[Curve]:
    named = (("actor", keys.LOSS), ("sft", keys.SFT_LOSS), ("validation", keys.SFT_EVAL_LOSS))
    return [Curve(name, run.series(key)) for name, key in named]


def _eval_curves(run: Run) -> list[Curve]:
    curves = [_eval_curve(run, kind) for kind in keys.EVAL_KEYS]
    # The mean over both decodings says nothing beside them.
    return curves if any(curve.points for curve in curves) else [Curve("eval", run.series(keys.EVAL_REWARD))]


def _eval_curve(run: Run, kind: str) -> Curve:
    """With the half width of the binomial 95 % band; none for rewards outside [0, 1]."""
    points = run.eval_series(kind)
    band = {
        step: _Z_95 * math.sqrt(share * (1 - share) / count)
        for step, share, count in points
        if count > 0 and 0 <= share <= 1
    }
    return Curve(kind, [(step, share) for step, share, _ in points], band)


def _scaled(points: Points, factor: float) -> Points:
    return [(x, y * factor) for x, y in points]


def _thinned(points: Points, limit: int) -> Points:
    """At most about `limit` points, evenly spaced, with the first and the last."""
    stride = math.ceil(len(points) / limit)
    if stride <= 1:
        return points
    kept = points[::stride]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _half_width(band: dict[float, float], x: float) -> list[float]:
    return [_number(band[x])] if x in band and math.isfinite(band[x]) else []


def _number(value: float) -> float | str:
    """Six significant digits; JSON knows no NaN, which travels as text and is drawn as a gap with a mark."""
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)
