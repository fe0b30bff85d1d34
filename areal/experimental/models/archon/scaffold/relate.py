# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Turns a study into a description of the family: every option as an expression, every field read, refused or without influence.

Called by `pipeline`; what it returns is all that `source` needs.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args, get_type_hints

from transformers.activations import ACT2FN

from areal.experimental.models.archon.base import UnsupportedConfig
from areal.experimental.models.archon.hf_config import decoder_fields, head_fields
from areal.experimental.models.archon.hf_fields import HFFields
from areal.experimental.models.archon.model_args import AttentionArgs, LayerArgs, MLAArgs, MoEArgs, RopeArgs
from areal.experimental.models.archon.scaffold.explain import Choice, Leaf, Node, Struct, explain
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.rotary import known_tables, unknown_entries
from areal.experimental.models.archon.scaffold.sensitivity import FieldStudy, Sample, Study
from areal.experimental.models.archon.scaffold.terms import Point, Term, Terms
from areal.experimental.models.archon.scaffold.tiny_config import (
    depth_field,
    layer_lists,
    positions_field,
    undeclared_fields,
)
from areal.experimental.models.archon.weights.rules import Rule

_FIELD = re.compile(r'hf\("(\w+)"')
HEADS = ("num_heads", "num_kv_heads", "head_dim", "value_head_dim")
_BY_DECODER_FIELDS = ("vocab_size", "hidden_size", "max_positions", "tie_embeddings")
_READ_BY_HELPERS = {
    "decoder_fields": {
        "vocab_size",
        "hidden_size",
        "max_position_embeddings",
        "tie_word_embeddings",
        "initializer_range",
    },
    "head_fields": {"num_attention_heads", "num_key_value_heads", "head_dim", "hidden_size"},
    "ropes": {"rope_parameters", "max_position_embeddings", "original_max_position_embeddings"},
}


@dataclass
class RopeDescription:
    """How `ropes` is computed: width of the head, style, rotating width (None: as `rope_tables` says), proven kinds.

    whole_heads: HF ignores a share of the head that rotates, so that one is refused. theta: of models whose config has no
    `rope_parameters`; everything is an expression then.
    """

    head_dim: Node
    style: Node
    rotary_dim: Node | None
    kinds: tuple[str, ...] | None
    is_reversed: Node
    read_elsewhere: tuple[str, ...] = ()
    whole_heads: bool = False
    theta: Node | None = None
    fixed_alpha: bool = False


@dataclass
class Family:
    """Everything about a family that is not its name."""

    model_fields: dict[str, Node]
    uses_decoder_fields: bool
    uses_head_fields: bool
    layer: Node
    depth: str
    rope: RopeDescription | None
    rules: list[Rule]
    expected: dict[str, list[Any]] = field(default_factory=dict)
    expected_each: dict[str, list[Any]] = field(default_factory=dict)
    tied: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    required: list[str] = field(default_factory=list)
    refused: list[tuple[str, Any]] = field(default_factory=list)
    rule_conditions: Mapping[Rule, str] = field(default_factory=dict)


def relate(study: Study, rules: list[Rule], rope_kinds: Sequence[str], failed_rope_kinds: Sequence[str]) -> Family:
    """The family; `Unexplained` when an option follows from no field."""
    samples = study.samples
    points = [Point(s.values, HFFields(s.config), None) for s in samples]
    layer_points = [
        Point(p.fields, p.hf, i) for p, s in zip(points, samples) for i in range(len(s.observation.args.layers))
    ]
    observed = [layer for s in samples for layer in s.observation.args.layers]
    layers = with_one_group_rule(without_idle_groups(observed, [_switches(point) for point in layer_points]))
    usual_heads = _heads_are_usual(layer_points, layers)
    extra = []
    if usual_heads:
        extra.append(Term('heads["head_dim"]', tuple(head_fields(p.hf)["head_dim"] for p in layer_points), 0))
    layer_terms = Terms(layer_points, extra)
    terms = Terms(points)
    layer = explain("layer", layer_terms, range(len(layers)), layers)
    usual_fields = all(_decoder_fields_agree(p, s) for p, s in zip(points, samples))
    family = Family(
        model_fields=_model_fields(terms, samples, usual_fields),
        uses_decoder_fields=usual_fields,
        uses_head_fields=usual_heads,
        layer=layer,
        depth=depth_field(study.base),
        rope=_rope(layer_terms, layer_points, samples, layers, rope_kinds, failed_rope_kinds),
        rules=rules,
    )
    _classify_fields(study, family)
    if family.rope is None and any(p.fields.get("rope_parameters") for p in points):
        family.ignored.append("rope_parameters")  # no layer rotates, whatever they were in the samples
    return family


def without_idle_groups(layers: Sequence[LayerArgs], switches: Sequence[Hashable]) -> list[LayerArgs]:
    """Layers whose routers choose among all groups have none, where equal switches elsewhere turn groups off (DeepSeek-V2's
    greedy method): the two compute the same, so that one observation alone cannot tell."""
    limits: dict[Hashable, set[bool]] = {}
    for layer, switch in zip(layers, switches, strict=True):
        if isinstance(layer.ffn, MoEArgs) and not _is_idle(layer.ffn):
            limits.setdefault(switch, set()).add(layer.ffn.router.num_groups > 1)
    return [
        replace(layer, ffn=replace(layer.ffn, router=replace(layer.ffn.router, num_groups=1, num_limited_groups=1)))
        if isinstance(layer.ffn, MoEArgs) and _is_idle(layer.ffn) and limits.get(switch) == {False}
        else layer
        for layer, switch in zip(layers, switches, strict=True)
    ]


def _is_idle(moe: MoEArgs) -> bool:
    return moe.router.num_limited_groups == moe.router.num_groups > 1


def _switches(point: Point) -> Hashable:
    """The words and flags of a point's config."""
    return tuple(sorted((name, value) for name, value in point.fields.items() if isinstance(value, bool | str)))


def with_one_group_rule(layers: Sequence[LayerArgs]) -> list[LayerArgs]:
    """Layers whose routers leave no group out get the rule of those that do: it decides nothing there."""
    rules = {
        (layer.ffn.router.group_reduce, layer.ffn.router.masked_score)
        for layer in layers
        if isinstance(layer.ffn, MoEArgs) and layer.ffn.router.num_limited_groups < layer.ffn.router.num_groups
    }
    if len(rules) != 1:
        return list(layers)
    ((reduce, masked),) = rules
    return [
        replace(
            layer, ffn=replace(layer.ffn, router=replace(layer.ffn.router, group_reduce=reduce, masked_score=masked))
        )
        if isinstance(layer.ffn, MoEArgs)
        else layer
        for layer in layers
    ]


def _heads_are_usual(points: Sequence[Point], layers: Sequence[LayerArgs]) -> bool:
    """Whether `head_fields` gives the heads of every layer with grouped-query attention, and there is no other attention."""
    kinds = {type(layer.mixer) for layer in layers}
    if AttentionArgs not in kinds or MLAArgs in kinds:
        return False
    for point, layer in zip(points, layers):
        try:
            expected = head_fields(point.hf)
        except (UnsupportedConfig, TypeError, ZeroDivisionError):
            return False
        mixer = layer.mixer
        if isinstance(mixer, AttentionArgs) and expected != {n: mixer.__dict__[n] for n in HEADS}:
            return False
    return True


def _decoder_fields_agree(point: Point, sample: Sample) -> bool:
    try:
        expected = decoder_fields(point.hf, False)
    except UnsupportedConfig:
        return False
    return all(expected[name] == sample.observation.args.__dict__[name] for name in _BY_DECODER_FIELDS)


def _model_fields(terms: Terms, samples: Sequence[Sample], usual: bool) -> dict[str, Node]:
    names = ["final_norm", "embedding", "head"]
    if not usual:
        names = ["hidden_size", "tie_embeddings", *names]
    nodes = {
        name: explain(name, terms, range(len(samples)), [s.observation.args.__dict__[name] for s in samples])
        for name in names
    }
    if not usual:
        if any(s.values.get("vocab_size") != s.observation.args.vocab_size for s in samples):
            raise Unexplained("vocab_size", "the number of logits is not the config's vocab_size")
        nodes["vocab_size"] = Leaf('hf("vocab_size")')
        field = positions_field(samples[0].config)
        nodes["max_positions"] = Leaf("None" if field is None else f'hf("{field}")')
        nodes["init_std"] = Leaf('hf("initializer_range", 0.02)')
    return nodes


def _rope(
    terms: Terms,
    points: Sequence[Point],
    samples: Sequence[Sample],
    layers: Sequence[LayerArgs],
    kinds: Sequence[str],
    failed_kinds: Sequence[str],
) -> RopeDescription | None:
    """How the tables of all layers that rotate follow from the config."""
    tables: list[RopeArgs] = []
    index: list[int] = []
    position = 0
    for sample in samples:
        for layer in sample.observation.args.layers:
            if isinstance(layer.mixer, AttentionArgs | MLAArgs) and layer.mixer.rope is not None:
                index.append(position)
                tables.append(sample.observation.args.ropes[layer.mixer.rope])
            position += 1
    if not tables:
        return None
    widths = [_rope_width(layers[n]) for n in index]
    head_dim = explain("rope.head_dim", terms, index, widths)
    style = explain("rope.style", terms, index, [t.style for t in tables])
    reversed_ = explain("rope.is_reversed", terms, index, [t.is_reversed for t in tables])
    configs = [s.config for s in samples for _ in s.observation.args.layers]
    if not configs[0].to_dict().get("rope_parameters"):
        rotary_dim = explain("rope.rotary_dim", terms, index, [t.rotary_dim for t in tables])
        theta = explain("rope.theta", terms, index, [t.theta for t in tables])
        return RopeDescription(head_dim, style, rotary_dim, None, reversed_, theta=theta)
    fixed_alpha = any(t.kind == "ntk_alpha" for t in tables)
    elsewhere = unknown_entries(configs[0], fixed_alpha)
    is_known = all(
        known_tables(configs[n], width, t.style, fixed_alpha).get(_rope_name(layers[n]))
        == replace(t, is_reversed=False)
        for n, width, t in zip(index, widths, tables)
    )
    proven = tuple(kinds) if failed_kinds else None
    if is_known:
        return RopeDescription(head_dim, style, None, proven, reversed_, elsewhere, fixed_alpha=fixed_alpha)
    rotary_dim = explain("rope.rotary_dim", terms, index, [t.rotary_dim for t in tables])
    if rotary_dim == head_dim:
        return RopeDescription(head_dim, style, None, proven, reversed_, elsewhere, True, fixed_alpha=fixed_alpha)
    return RopeDescription(head_dim, style, rotary_dim, proven, reversed_, elsewhere, fixed_alpha=fixed_alpha)


def _rope_width(layer: LayerArgs) -> int:
    return layer.mixer.rope_head_dim if isinstance(layer.mixer, MLAArgs) else layer.mixer.head_dim  # type: ignore[union-attr]


def _rope_name(layer: LayerArgs) -> str:
    assert isinstance(layer.mixer, AttentionArgs | MLAArgs) and layer.mixer.rope is not None
    return layer.mixer.rope


def _classify_fields(study: Study, family: Family) -> None:
    """Which fields are read, which may only have proven values, and which have no influence."""
    used = used_fields(family)
    for study_of in study.fields.values():
        _classify(study_of, used, study, family)
    optional = _READ_BY_HELPERS["head_fields"] | _READ_BY_HELPERS["ropes"]
    nodes = [family.layer, *family.model_fields.values()]
    needed = {name for node in nodes for code in codes_that_need_values(node) for name in _FIELD.findall(code)}
    for name in sorted(used & needed - optional):
        if study.default_of(name) is None and all(sample.values.get(name) is not None for sample in study.samples):
            family.required.append(name)
    # Absent, a size that the class does not declare has a value of the model's own, which is not the one of the samples.
    family.required += sorted(undeclared_fields(type(study.base)) & family.expected.keys() - set(family.required))
    for name in used:
        entries = [e for s in study.samples for v in [s.values.get(name)] if isinstance(v, list) for e in v]
        if entries and all(isinstance(e, str) for e in entries):
            family.expected_each[name] = sorted(set(entries))


def _classify(field_study: FieldStudy, used: set[str], study: Study, family: Family) -> None:
    name, base = field_study.name, field_study.base
    proven = [base, *field_study.explained]
    for value, _ in field_study.unexplained:
        family.refused.append((name, value))
    if name in used:
        if isinstance(base, str) and base not in ACT2FN:
            family.expected[name] = list(dict.fromkeys(proven))
        elif _was_always_the_same(field_study, study):
            family.expected[name] = [base]  # options may follow from it, and would look like constants
        return
    twin = study.tied.get(name) or _twin(name, used, study)
    if twin is not None and field_study.has_influence:
        family.tied[name] = twin
    elif field_study.was_tried and not field_study.has_influence:
        if isinstance(base, str):  # a word that was not tried may mean anything
            family.expected[name] = list(dict.fromkeys([base, *field_study.idle]))
        else:
            family.ignored.append(name)
    elif field_study.has_influence or base != study.default_of(name):
        if isinstance(base, list) and name in layer_lists(study.base):
            family.expected_each[name] = list(dict.fromkeys(base))
        else:
            family.expected[name] = [base, *(v for v in field_study.equal_to_base if not isinstance(v, list))]


def _was_always_the_same(field_study: FieldStudy, study: Study) -> bool:
    """Whether a number that may matter had one value in all samples: no expression has been tested against it."""
    is_number = isinstance(field_study.base, int | float) and not isinstance(field_study.base, bool)
    is_harmless = field_study.was_tried and not field_study.has_influence
    values = {repr(sample.values.get(field_study.name)) for sample in study.samples}
    return is_number and not is_harmless and len(values) == 1


def _twin(name: str, used: set[str], study: Study) -> str | None:
    """A field that is read and had the same value in every config, although values changed."""
    values = [sample.values.get(name) for sample in study.samples]
    if len(set(map(repr, values))) < 2:
        return None
    return next((u for u in sorted(used) if [s.values.get(u) for s in study.samples] == values), None)


def used_fields(family: Family) -> set[str]:
    """All fields that the generated code reads."""
    used = set(_READ_BY_HELPERS["decoder_fields"]) if family.uses_decoder_fields else set()
    if family.uses_head_fields:
        used |= _READ_BY_HELPERS["head_fields"]
    if family.rope is not None:
        used |= _READ_BY_HELPERS["ropes"]
    nodes: list[Node] = [family.layer, *family.model_fields.values()]
    if family.rope is not None:
        rope = family.rope
        nodes += [n for n in (rope.head_dim, rope.style, rope.rotary_dim, rope.theta) if n is not None]
    for code in (c for node in nodes for c in codes(node)):
        used |= set(re.findall(r'hf\("(\w+)"', code)) | set(re.findall(r'activation\(hf, "(\w+)"\)', code))
        if "activation(hf)" in code:
            used.add("hidden_act")
        if "yarn_score_factor" in code:
            used.add("rope_parameters")
    used.add(family.depth)
    return used


def codes(node: Node) -> Iterable[str]:
    """All source in a node."""
    if isinstance(node, Leaf):
        yield node.code
    elif isinstance(node, Choice):
        yield node.predicate
        yield from codes(node.then)
        yield from codes(node.other)
    else:
        for name, child in node.fields.items():
            if not _is_usual_default(node, name, child):
                yield from codes(child)


def codes_that_need_values(node: Node, admits_none: bool = False) -> Iterable[str]:
    """Source in a node that may not come out as None: a window that is None is no window, a size is no size."""
    if isinstance(node, Leaf):
        yield from () if admits_none else (node.code,)
    elif isinstance(node, Choice):
        if re.search(r"\bi\b", node.predicate):  # kinds of layers; what only a mode of the config reads may stay open
            yield node.predicate
            yield from codes_that_need_values(node.then, admits_none)
            yield from codes_that_need_values(node.other, admits_none)
    else:
        hints = get_type_hints(node.cls)
        for name, child in node.fields.items():
            yield from codes_that_need_values(child, type(None) in get_args(hints[name]))


def _is_usual_default(node: Struct, name: str, child: Node) -> bool:
    declared = next(f for f in dataclasses.fields(node.cls) if f.name == name)
    return isinstance(child, Leaf) and child.code == repr(declared.default)
