# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Tensors that HF names differently in different modes of a config: which layout of the block asks for which name.

Called by `pipeline`; `adapter_source` writes the conditions. Never looks at names, only at which models had them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from areal.experimental.models.archon.model_args import LayerArgs
from areal.experimental.models.archon.weights.rules import Rule

_CONDITIONS: dict[str, Callable[[LayerArgs], bool]] = {
    "{layer}.parallel": lambda layer: layer.parallel,
    "not {layer}.parallel": lambda layer: not layer.parallel,
    "{layer}.ffn_norm is None": lambda layer: layer.ffn_norm is None,
    "{layer}.ffn_norm is not None": lambda layer: layer.ffn_norm is not None,
    "{layer}.parallel and {layer}.ffn_norm is not None": lambda layer: layer.parallel and layer.ffn_norm is not None,
    "not {layer}.parallel or {layer}.ffn_norm is None": lambda layer: not layer.parallel or layer.ffn_norm is None,
}


def conditions(found: Sequence[tuple[LayerArgs, Sequence[Rule]]]) -> Mapping[Rule, str]:
    """Conditions of rules whose tensors of ours have other names in other models; `{layer}` stands for the first block.

    found: the first block and the rules of checkpoints of several models. Rules without a condition that fits are left out.
    """
    rules = dict.fromkeys(rule for _, every in found for rule in every)
    chosen: dict[Rule, str] = {}
    for rule in rules:
        having = [(layer, every) for layer, every in found if any(r.ours == rule.ours for r in every)]
        if len({r.hf for _, every in having for r in every if r.ours == rule.ours}) < 2:
            continue
        for code, holds in _CONDITIONS.items():
            if all(
                holds(layer) == any((r.ours, r.hf) == (rule.ours, rule.hf) for r in every) for layer, every in having
            ):
                chosen[rule] = code
                break
    return chosen
