# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Source of weight rules: the shared helpers where they say the same, single rules where they do not.

Called by `source` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields

from areal.experimental.models.archon.scaffold.rule_sizes import Size, sizes_of
from areal.experimental.models.archon.weights import rules
from areal.experimental.models.archon.weights.ops import Chain, GroupedSplit, Join, Op, Split
from areal.experimental.models.archon.weights.rules import Rule

_WHOLE: tuple[str, ...] = ("llama_rules", "olmo2_rules", "gemma2_rules", "glm_rules", "phi3_rules")
_PARTS: tuple[str, ...] = (
    "base_rules",
    "pre_norm_rules",
    "attention_rules",
    "mla_rules",
    "delta_net_rules",
    "ffn_rules",
)
_LAYER = "self.model_args.layers[0]"
_MOE: tuple[str, ...] = ("deepseek_moe_rules", "moe_rules")


def rule_lines(found: Sequence[Rule], archon: str, conditions: Mapping[Rule, str]) -> tuple[list[str], list[str]]:
    """Lines of the tuple of rules, and the imports they need. conditions: of rules that hold for some models only."""
    left = [rule for rule in found if rule not in conditions]
    sometimes = [rule for rule in found if rule in conditions]
    lines: list[str] = []
    helpers: set[str] = set()
    for name, helper in _helpers():
        offered = set(helper())
        if name == "deepseek_moe_rules" and not any("expert_bias" in rule.ours[0] for rule in left):
            continue
        covered = [rule for rule in left if rule in offered]
        clash = [r for r in (*left, *sometimes) if r not in offered and any(set(r.ours) & set(o.ours) for o in offered)]
        needed = len(left) // 2 if name in _WHOLE else 2
        if len(covered) >= max(needed, 2) and not clash:
            lines.append(f"*{name}()")
            helpers.add(name)
            left = [rule for rule in left if rule not in covered]
    of_nets = [rule for rule in left if any(size.is_of_net for size in sizes_of(rule.op))]
    singles = [_single(rule) for rule in left if rule not in of_nets]
    if not helpers & {*_WHOLE, "base_rules"}:
        singles.append('rename("score.weight", "score.weight")')
    helpers |= {line.partition("(")[0] for line in (*singles, *map(_single, (*of_nets, *sometimes)))}
    singles += [f"*(({_single(rule)},) if {conditions[rule].format(layer=_LAYER)} else ())" for rule in sometimes]
    if of_nets:
        singles.append(f"*(rule for net in nets for rule in ({', '.join(map(_single, of_nets))},))")
    imports = [
        f"from {archon}.weights.adapter import StateDictAdapter",
        f"from {archon}.weights.rules import {', '.join(sorted({*helpers, 'Rule'}))}",
    ]
    names = sorted({name for rule in (*left, *sometimes) if rule.op is not None for name in _op_names(rule.op)})
    if used := [name for name in names if any(f"{name}(" in line for line in singles)]:
        imports.append(f"from {archon}.weights.ops import {', '.join(used)}")
    mixers = {"mixer.": "AttentionArgs", "net.": "DeltaNetArgs"}
    if kinds := [kind for name, kind in mixers.items() if any(name in line for line in singles)]:
        imports.append(f"from {archon}.model_args import {', '.join(kinds)}")
    return [*singles, *lines], imports


def _helpers() -> Iterator[tuple[str, Callable[[], tuple[Rule, ...]]]]:
    for name in (*_WHOLE, *_PARTS, *_MOE):
        yield name, vars(rules)[name]


def _single(rule: Rule) -> str:
    hf = rule.hf[0]
    if len(rule.hf) > 1:
        sides = [f"({', '.join(map(_quoted, names))},)" for names in (rule.ours, rule.hf)]
        return f"Rule({', '.join(sides)}, {_op_source(rule.op)})"
    if len(rule.ours) == 1:
        op = "" if rule.op is None else f", {_op_source(rule.op)}"
        return f'rename("{rule.ours[0]}", "{hf}"{op})'
    ours = ", ".join(f'"{name}"' for name in rule.ours)
    op = "" if rule.op == Split() else f", {_op_source(rule.op)}"
    return f'split(({ours}), "{hf}"{op})'


def _quoted(text: str) -> str:
    return f'"{text}"'


def _op_source(op: Op | None) -> str:
    assert op is not None
    if isinstance(op, Chain):
        return f"Chain(({', '.join(_op_source(part) for part in op.ops)},))"
    if isinstance(op, GroupedSplit):
        parts = [f"({', '.join(Size(rows).code for rows in part)},)" for part in op.parts or ()]
        return f"GroupedSplit({_groups(op.num_groups)}{f', ({chr(44).join(parts)})' if parts else ''})"
    if isinstance(op, Join):
        return f"Join(({', '.join(Size(rows).code for rows in op.sizes)},))"
    parts = [f"{f.name}={op.__dict__[f.name]!r}" for f in fields(op)]  # type: ignore[arg-type]
    return f"{type(op).__name__}({', '.join(parts)})"


def _groups(number: int) -> str:
    """Groups by the name of what they are, or a constant."""
    return str(number) if number > 0 else Size(number).code


def _op_names(op: Op) -> Iterator[str]:
    yield type(op).__name__
    if isinstance(op, Chain):
        for part in op.ops:
            yield from _op_names(part)
