# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises how scores become weights: scale, mask (window, chunk), soft cap, sinks, linear biases.

Scale and cap are proposed by the options that HF passes to its attention function; all are verified on its output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from areal.experimental.models.archon.kernels.reference import masked_attention, visibility
from areal.experimental.models.archon.model_args import AlibiArgs, ScoreArgs
from areal.experimental.models.archon.modules.alibi import slopes_of, with_biases
from areal.experimental.models.archon.scaffold.alibi import fit_alibi
from areal.experimental.models.archon.scaffold.attends import Attend
from areal.experimental.models.archon.scaffold.dataflow import TOLERANCE, mismatch
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import Call


@dataclass(frozen=True)
class FittedScores:
    """Score options with the sinks `[H]` and the linear biases, if there are any."""

    args: ScoreArgs
    sinks: Tensor | None
    alibi: AlibiArgs | None = None


def fit_scores(where: str, attend: Attend, calls: Sequence[Call], config: PreTrainedConfig) -> FittedScores:
    """Score options; `Unexplained` when the output is something else."""
    num_tokens, num_heads = attend.q.shape[2], attend.q.shape[1]
    visible = torch.ones(num_tokens, num_tokens, dtype=torch.bool).tril()
    if attend.mask is not None:
        mask = attend.mask[0, 0, :, :num_tokens]
        visible = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    window, chunk = _pattern(where, visible)
    q, k, v = (t[0].transpose(0, 1) for t in (attend.q, attend.k, attend.v))
    errors: dict[str, float] = {}
    for scale in _scales(attend):
        if (biased := _with_alibi(where, attend, visible, scale)) is not None:
            return biased
        for softcap in _softcaps(attend, config):
            for name, sinks in _sinks(attend, calls, num_heads):
                args = ScoreArgs(scale=scale, window=window, chunk=chunk, softcap=softcap, sinks=sinks is not None)
                got = masked_attention(q, k, v, visible, args, sinks)
                label = f"scale {scale:.6g}, softcap {softcap}, sinks {name}"
                errors[label] = error = mismatch(got, attend.out[0])
                if error < TOLERANCE:
                    return FittedScores(args, sinks)
    raise Unexplained(where, "attention is not a softmax of scaled scores over the mask", errors)


def _with_alibi(where: str, attend: Attend, visible: Tensor, scale: float) -> FittedScores | None:
    """Scores with linear biases, if they give the output."""
    alibi = fit_alibi(where, attend, visible, scale)
    if alibi is None:
        return None
    q, k, v = (t[0].transpose(0, 1) for t in (attend.q, attend.k, attend.v))
    q, k = with_biases(q, k, slopes_of(alibi, q.shape[1]), torch.arange(len(q)), scale)
    window, chunk = _pattern(where, visible)
    args = ScoreArgs(scale=scale, window=window, chunk=chunk)
    is_right = mismatch(masked_attention(q, k, v, visible, args, None), attend.out[0]) < TOLERANCE
    return FittedScores(args, None, alibi) if is_right else None


def _pattern(where: str, visible: Tensor) -> tuple[int | None, int | None]:
    """Window or chunk of a mask."""
    length = visible.shape[0]
    candidates: list[tuple[int | None, int | None]] = [(None, None)]
    candidates += [(window, None) for window in range(1, length)] + [(None, chunk) for chunk in range(1, length)]
    for window, chunk in candidates:
        if torch.equal(visibility((length,), window, chunk), visible):
            return window, chunk
    raise Unexplained(
        where, "the mask is neither causal nor a window nor chunks", details={"mask": visible.int().tolist()}
    )


def _scales(attend: Attend) -> Iterator[float]:
    given = attend.options.get("scaling")
    if isinstance(given, float | int):
        yield float(given)
    yield from (attend.q.shape[-1] ** -0.5, 1.0)


def _softcaps(attend: Attend, config: PreTrainedConfig) -> Iterator[float | None]:
    yield None
    given = attend.options.get("softcap")
    if given is not None:
        yield float(given)
    yield from (v for name, v in config.to_dict().items() if isinstance(v, float) and "cap" in name)


def _sinks(attend: Attend, calls: Sequence[Call], num_heads: int) -> Iterator[tuple[str, Tensor | None]]:
    yield "none", None
    for name, parameter in attend.module.named_parameters():
        if parameter.numel() == num_heads:
            yield name, parameter.detach().flatten()
