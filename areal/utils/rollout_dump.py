# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts on disk for people: per-token records of a training step, and whole trajectories as they finish.

The trainer calls `make_records` + `dump_step` on the batch it trained on (token by token: id, text, mask, log-probs of the
behaviour, proximal and current policy, ratio, advantage, version); the rollout executor calls `dump_trajectory` when
`dump_to_file` is set. Must never change the tensors it is given, nor import torch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from areal.utils.jsonl import to_line
from areal.utils.logging import getLogger
from areal.utils.stat_keys import ROLLOUT_DIR

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

logger = getLogger("rollout_dump")

# Per-token columns of a record and the key of the training batch each comes from. `compute_advantages` has moved these
# keys to prediction alignment (index t describes token t+1); records are token aligned again.
# A record: {"step", "pick": "best" | "worst", "reward", "task_id", "sample_idx", "truncated", "seqlen", "prompt_len",
# "prompt", "completion", "ratio_kind", "tokens": {column: [one value a token]}} with the columns "id", "piece" and those
# of this table that are known, plus "ratio". `areal report` shows whatever columns there are.
_PREDICTION_COLUMNS = {
    "mask": "loss_mask",
    "behave_logp": "logprobs",
    "prox_logp": "prox_logp",
    "logp": "new_logp",  # of the current policy, where the trainer keeps it
    "ref_logp": "ref_logp",
    "advantage": "advantages",
    "version": "versions",
}
_INTEGER_COLUMNS = {"mask": 0, "version": -1}  # value of the first token, which nothing predicts
# Enough to see a difference of two log-probs; halves the size of the file.
_DECIMALS = 4


def step_path(run_dir: str | Path, step: int) -> Path:
    """File of the records of `step` (a zero-based global step)."""
    return Path(run_dir) / ROLLOUT_DIR / f"step_{step:06d}.jsonl"


def sample_scores(trajectories: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """(reward, sum of its advantages) of each sample: of equal rewards, those that are pushed most stand at the ends."""
    scores = []
    for traj in trajectories:
        advantages = traj["advantages"].sum(-1).tolist() if "advantages" in traj else [0.0] * len(traj["rewards"])
        scores += zip(traj["rewards"].tolist(), advantages, strict=True)
    return scores


def choose_best_and_worst(scores: Sequence[float] | Sequence[tuple[float, float]], limit: int) -> list[tuple[int, str]]:
    """Up to `limit` (index, "best" | "worst") pairs: best, worst, second best, second worst, ...; ties by index."""
    order = sorted(range(len(scores)), key=lambda i: scores[i], reverse=True)
    picks: dict[int, str] = {}
    for best, worst in zip(order, reversed(order)):
        picks.setdefault(best, "best")
        picks.setdefault(worst, "worst")
    return list(picks.items())[:limit]


def make_records(
    trajectories: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    step: int,
    limit: int = 8,
) -> list[dict[str, Any]]:
    """Records of the `limit` best and worst samples of a batch as `PPOActor.compute_advantages` returned it.

    Each trajectory is a dict of tensors [b, L] / [b], padded right; keys that are missing leave their column out. Samples
    that were taken out of their groups carry their place there as `sample_idx`.
    `ratio` is current / proximal probability where the batch has `new_logp`, else proximal / behaviour (`ratio_kind`).
    """
    samples = [(traj, row) for traj in trajectories for row in range(len(traj["rewards"]))]
    scores = sample_scores(trajectories)
    piece_of = _piece_decoder(tokenizer)
    records = []
    for index, pick in choose_best_and_worst(scores, limit):
        traj, row = samples[index]
        columns = _token_columns(traj, row)
        ids = columns["id"]
        prompt_len = _prompt_len(columns.get("mask", []), len(ids))
        records.append(
            {
                "step": step,
                "pick": pick,
                "reward": scores[index][0],
                "task_id": _scalar(traj, "task_ids", row),
                "sample_idx": row if (place := _scalar(traj, "sample_idx", row)) is None else place,
                "truncated": _scalar(traj, "truncated", row),
                "seqlen": len(ids),
                "prompt_len": prompt_len,
                "prompt": tokenizer.decode(ids[:prompt_len]),
                "completion": tokenizer.decode(ids[prompt_len:]),
                "ratio_kind": "current / proximal" if "logp" in columns else "proximal / behaviour",
                "tokens": {**columns, "piece": [piece_of(token) for token in ids]},
            }
        )
    return records


def dump_step(path: str | Path, records: Sequence[Mapping[str, Any]]) -> Path:
    """Write the records of a step, replacing the file whole: a step that is trained again after a resume counts once."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text("".join(to_line(dict(record)) for record in records), encoding="utf-8")
    partial.replace(path)
    return path


def dump_trajectory(
    log_path: str | Path,
    trajectory: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    *,
    task_id: int | str,
    is_eval: bool = False,
) -> Path | None:
    """Write a finished trajectory to `{log_path}/{rollout|eval-rollout}/{max version}/{task_id}.jsonl`, a line a sample.

    `trajectory` is token aligned, as a workflow returns it. Samples whose last token is not trained are skipped; None
    when all are, or when the disk refuses (with a warning: a dump never ends a rollout).
    """
    records = []
    for row in range(len(trajectory["rewards"])):
        length = int(trajectory["attention_mask"][row].sum())
        mask = trajectory["loss_mask"][row, :length].tolist()
        if length and mask[-1]:
            records.append(_trajectory_record(trajectory, tokenizer, row, mask, task_id))
    if not records:
        return None
    version = max(record["tail_version"] for record in records)
    folder = Path(log_path) / ("eval-rollout" if is_eval else "rollout") / str(version)
    path = folder / f"{task_id}.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(to_line(record) for record in records), encoding="utf-8")
    except OSError as error:
        logger.warning("trajectory %s is not dumped: %s", task_id, error)
        return None
    return path


def _trajectory_record(
    trajectory: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    row: int,
    mask: list[int],
    task_id: int | str,
) -> dict[str, Any]:
    ids = trajectory["input_ids"][row, : len(mask)].tolist()
    versions = [v for v, m in zip(trajectory["versions"][row, : len(mask)].tolist(), mask) if m]
    prompt_len = _prompt_len(mask, len(ids))
    record = {
        "task_id": task_id,
        "sample_idx": row,
        "seqlen": len(ids),
        "prompt_len": prompt_len,
        "head_version": versions[0],
        "tail_version": versions[-1],
        "version_rle": [[version, len(list(run))] for version, run in itertools.groupby(versions)],
        "reward": float(trajectory["rewards"][row]),
        "prompt": tokenizer.decode(ids[:prompt_len]),
        "completion": tokenizer.decode(ids[prompt_len:]),
    }
    if "original_rewards" in trajectory:
        record["original_reward"] = float(trajectory["original_rewards"][row])
    segments = _segments(tokenizer, ids, mask)
    if len(segments) > 2:  # more than one prompt and one answer
        record["segments"] = segments
    return record


def _segments(tokenizer: PreTrainedTokenizerBase, ids: list[int], mask: list[int]) -> list[dict[str, Any]]:
    """Runs of equal mask: the prompt, then generated parts and the context (tool results, next turns) between them."""
    segments, start = [], 0
    for trained, run in itertools.groupby(mask, bool):
        end = start + len(list(run))
        role = "gen" if trained else ("context" if start else "prompt")
        segments.append({"role": role, "len": end - start, "text": tokenizer.decode(ids[start:end])})
        start = end
    return segments


def _token_columns(traj: Mapping[str, Tensor], row: int) -> dict[str, list[Any]]:
    """Token-aligned columns of one sample, cut to its length."""
    length = int(traj["attention_mask"][row].sum())
    columns: dict[str, list[Any]] = {"id": traj["input_ids"][row, :length].tolist()}
    for column, key in _PREDICTION_COLUMNS.items():
        if key in traj:
            predicted = traj[key][row, : length - 1].tolist()
            if column in _INTEGER_COLUMNS:
                columns[column] = [_INTEGER_COLUMNS[column], *(int(value) for value in predicted)]
            else:
                columns[column] = [0.0, *(round(value, _DECIMALS) for value in predicted)]
    upper, lower = ("logp", "prox_logp") if "logp" in columns else ("prox_logp", "behave_logp")
    if upper in columns and lower in columns:
        columns["ratio"] = [
            round(math.exp(min(a - b, 30.0)), _DECIMALS) for a, b in zip(columns[upper], columns[lower])
        ]
    return columns


def _prompt_len(mask: Sequence[int], length: int) -> int:
    """Index of the first trained token."""
    return next((index for index, trained in enumerate(mask) if trained), length)


def _scalar(traj: Mapping[str, Tensor], key: str, row: int) -> int | float | bool | None:
    return traj[key][row].item() if key in traj else None


def _piece_decoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[int], str]:
    """Text of single tokens, remembered: decoding one costs 20 µs and a batch repeats a few hundred of them."""
    pieces: dict[int, str] = {}

    def piece_of(token: int) -> str:
        if token not in pieces:
            pieces[token] = tokenizer.decode([token])
        return pieces[token]

    return piece_of
