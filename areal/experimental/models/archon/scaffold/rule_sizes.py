# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes inside weight rules as names: a rule that was found on one tiny model must hold for models of other sizes.

Called by `pipeline` on what `weight_rules` finds; `adapter_source` writes the names as expressions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import IntEnum

from areal.experimental.models.archon.model_args import AttentionArgs, DecoderArgs, DeltaNetArgs
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.weights.ops import Chain, GroupedSplit, Join, Op
from areal.experimental.models.archon.weights.rules import Rule


class Size(IntEnum):
    """Sizes that ops hold, below every real one."""

    KEY_HEADS = -1
    NET_KEY_HEADS = -2
    NET_KEYS = -3
    NET_VALUES = -4

    @property
    def code(self) -> str:
        """The expression over `mixer`, an `AttentionArgs`, or `net`, a `DeltaNetArgs`."""
        return _CODES[self]

    @property
    def is_of_net(self) -> bool:
        """Whether it is a size of gated DeltaNet."""
        return self is not Size.KEY_HEADS


_CODES = {
    Size.KEY_HEADS: "mixer.num_kv_heads",
    Size.NET_KEY_HEADS: "net.num_key_heads",
    Size.NET_KEYS: "net.num_key_heads * net.key_head_dim",
    Size.NET_VALUES: "net.num_value_heads * net.value_head_dim",
}


def named_in_all(found: Sequence[tuple[DecoderArgs, Sequence[Rule]]]) -> list[list[Rule]]:
    """The rules of several models, with sizes as names; a number of groups that no model's heads explain is a constant."""
    fixed: dict[tuple[tuple[str, ...], tuple[str, ...]], int] = {}
    for args, rules in found:
        for rule in rules:
            if (
                isinstance(rule.op, GroupedSplit)
                and rule.op.parts is None
                and rule.op.num_groups not in _groups(rule, args)
            ):
                fixed[rule.ours, rule.hf] = rule.op.num_groups
    return [
        [rule if _has_groups(rule, fixed.get((rule.ours, rule.hf))) else named_sizes(rule, args) for rule in rules]
        for args, rules in found
    ]


def _has_groups(rule: Rule, number: int | None) -> bool:
    return isinstance(rule.op, GroupedSplit) and rule.op.num_groups == number


def _groups(rule: Rule, args: DecoderArgs) -> dict[int, Size]:
    """Numbers of heads in whose groups tensors may be stored."""
    mixers = [layer.mixer for layer in args.layers]
    if ".linear_attn." in rule.ours[0]:
        return {m.num_key_heads: Size.NET_KEY_HEADS for m in mixers if isinstance(m, DeltaNetArgs)}
    heads = {mixer.num_kv_heads for mixer in mixers if isinstance(mixer, AttentionArgs)}
    return dict.fromkeys(heads if len(heads) == 1 else (), Size.KEY_HEADS)


def named_sizes(rule: Rule, args: DecoderArgs) -> Rule:
    """A rule whose sizes are names; `Unexplained` where they are none of the mixer's."""
    mixers = [layer.mixer for layer in args.layers]
    if ".linear_attn." in rule.ours[0]:
        net = next(mixer for mixer in mixers if isinstance(mixer, DeltaNetArgs))
        widths = {
            net.num_value_heads * net.value_head_dim: Size.NET_VALUES,
            net.num_key_heads * net.key_head_dim: Size.NET_KEYS,
        }
    else:
        widths = {}
    return replace(rule, op=_named(rule, rule.op, _groups(rule, args), widths))


def sizes_of(op: Op | None) -> Iterator[Size]:
    """The named sizes in an op."""
    if isinstance(op, Chain):
        for part in op.ops:
            yield from sizes_of(part)
    elif isinstance(op, GroupedSplit):
        if op.num_groups < 0:
            yield Size(op.num_groups)
        yield from (Size(rows) for part in op.parts or () for rows in part)
    elif isinstance(op, Join):
        yield from map(Size, op.sizes)


def _named(rule: Rule, op: Op | None, groups: dict[int, Size], widths: dict[int, Size]) -> Op | None:
    if isinstance(op, Chain):
        return Chain(tuple(part for p in op.ops if (part := _named(rule, p, groups, widths)) is not None))
    try:
        if isinstance(op, GroupedSplit):
            parts = None if op.parts is None else tuple(tuple(widths[rows] for rows in part) for part in op.parts)
            return GroupedSplit(groups[op.num_groups], parts)
        if isinstance(op, Join):
            return Join(tuple(widths[rows] for rows in op.sizes))
    except KeyError as error:
        raise Unexplained("weights", f"{rule.hf[0]} is stored in parts of {error}, which are not its heads") from error
    return op
