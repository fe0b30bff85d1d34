# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises linear biases of attention scores (ALiBi), from scores that were watched or from a mask that holds more than a mask.

Called by `scores`; the slopes must follow the rule of `modules.alibi`, and `sensitivity` asks again with other heads. Dimensions:
T tokens, H query heads.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from areal.experimental.models.archon.model_args import AlibiArgs, AttentionArgs, DecoderArgs
from areal.experimental.models.archon.modules.alibi import exponents_of
from areal.experimental.models.archon.scaffold.attends import Attend
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.tiny_config import changed

_LIMIT = 1e-4
"""Of logarithms of slopes, and of biases relative to the largest: both come from differences of fp32 scores."""
_NEARLY = 1e-2
_OTHER_HEADS, _OTHER_WIDTH = 12, 96
"""No power of two, and slopes that no short float holds."""


def fit_alibi(where: str, attend: Attend, visible: Tensor, scale: float) -> AlibiArgs | None:
    """The biases beside scale · q·k of visible pairs; None when there are none that are linear in the distance."""
    bias_HTT = _biases(attend, scale)
    if bias_HTT is None:
        return None
    num_tokens = visible.shape[0]
    distance = torch.arange(num_tokens)[:, None] - torch.arange(num_tokens)
    seen = visible & (distance > 0)
    fall_HP = (bias_HTT.diagonal(dim1=1, dim2=2).unsqueeze(-1) - bias_HTT)[:, seen].double()
    steps_P = distance[seen].double()
    slopes_H = (fall_HP @ steps_P) / steps_P.square().sum()
    error = float((fall_HP - slopes_H[:, None] * steps_P).abs().max() / fall_HP.abs().max())
    if float(slopes_H.min()) <= 0 or not error < _NEARLY:
        return None
    if error > _LIMIT:
        what = "scores have biases that fall with the distance (alibi) but are rounded to a short float, which is not computed"
        raise Unexplained(where, what, {"linear biases": error})
    return _rule(where, slopes_H, scale)


def _biases(attend: Attend, scale: float) -> Tensor | None:
    num_heads = attend.q.shape[1]
    if attend.scores is not None:
        keys = attend.k[0].repeat_interleave(num_heads // attend.k.shape[1], dim=0)
        return attend.scores.double() - scale * attend.q[0].double() @ keys.double().transpose(1, 2)
    if attend.mask is None or attend.mask.dtype == torch.bool or attend.mask.shape[1] != num_heads:
        return None
    return attend.mask[0].double()


def _rule(where: str, slopes_H: Tensor, scale: float) -> AlibiArgs:
    exponents = torch.tensor(exponents_of(len(slopes_H)), dtype=torch.float64)
    columns = torch.stack((torch.ones_like(exponents), -exponents), dim=1)
    logs = slopes_H.log2()
    solution = torch.linalg.lstsq(columns, logs[:, None]).solution
    error = float((columns @ solution - logs[:, None]).abs().max())
    if error > _LIMIT:
        raise Unexplained(
            where,
            "scores have biases that are linear in the distance (alibi), but their slopes are not those of the paper",
            {"log2 of slopes": error},
            {"slopes": slopes_H.tolist()},
        )
    factor, max_bias = 2 ** float(solution[0]), float(solution[1])
    factor = next((known for known in (1.0, scale) if abs(factor / known - 1) < 10 * _LIMIT), factor)
    return AlibiArgs(max_bias=round(max_bias, 3), factor=factor)


def with_other_heads(config: PreTrainedConfig, args: DecoderArgs) -> PreTrainedConfig | None:
    """A config with heads on which wrong slopes show; None where no layer has biases or the heads are those already."""
    mixers = [layer.mixer for layer in args.layers if isinstance(layer.mixer, AttentionArgs)]
    if all(mixer.alibi is None or mixer.num_heads == _OTHER_HEADS for mixer in mixers):
        return None
    names = {config.attribute_map.get(n, n): value for n, value in _HEAD_SIZES.items()}
    fields = config.to_dict()
    return changed(config, **{name: value for name, value in names.items() if fields.get(name) is not None})


_HEAD_SIZES = {
    "num_attention_heads": _OTHER_HEADS,
    "num_key_value_heads": _OTHER_HEADS,
    "num_kv_heads": _OTHER_HEADS,
    "hidden_size": _OTHER_WIDTH,
}
