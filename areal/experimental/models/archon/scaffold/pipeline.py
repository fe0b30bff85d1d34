# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The whole of `areal archon new`: tiny config, study, relation, rules, source, proof. Writes nothing outside `workspace`.

Coordinates the other modules, none of which knows it; `install` moves the result into the tree.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from areal.experimental.models.archon.model_args import AttentionArgs
from areal.experimental.models.archon.proof import oracle
from areal.experimental.models.archon.scaffold import given
from areal.experimental.models.archon.scaffold.combinations import try_combinations
from areal.experimental.models.archon.scaffold.findings import Ambiguous, Refused, Unexplained
from areal.experimental.models.archon.scaffold.freezing import freeze_unrelated
from areal.experimental.models.archon.scaffold.hf_model import (
    build,
    check_causal,
    check_size,
    random_tokens,
    trace,
)
from areal.experimental.models.archon.scaffold.hold_out import has_oracle
from areal.experimental.models.archon.scaffold.relate import Family, relate
from areal.experimental.models.archon.scaffold.rope_study import study_ropes
from areal.experimental.models.archon.scaffold.rule_conditions import conditions
from areal.experimental.models.archon.scaffold.rule_sizes import named_in_all
from areal.experimental.models.archon.scaffold.sensitivity import Sample, Study, fields_of
from areal.experimental.models.archon.scaffold.source import FamilySource, Names
from areal.experimental.models.archon.scaffold.tiny_config import (
    BUILD_ERRORS,
    canonical,
    changed,
    depth_field,
    find_tiny,
)
from areal.experimental.models.archon.scaffold.unbuildable import why_unbuildable
from areal.experimental.models.archon.scaffold.uniqueness import ambiguities
from areal.experimental.models.archon.scaffold.verify import is_steady
from areal.experimental.models.archon.scaffold.weight_rules import infer_rules
from areal.experimental.models.archon.weights.ops import GroupedSplit, Split
from areal.experimental.models.archon.weights.rules import Rule

SEEDS = (0, 1, 2)
MAX_SEEDS = 9
MAX_VARIANTS = 10
ROPE_WIDTH = 16
"""Of tiny heads that have not been observed."""
MAX_SOURCE_LINES = 90
logger = logging.getLogger(__name__)


@dataclass
class Discovery:
    """What was found out about a model type."""

    names: Names
    study: Study
    family: Family
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    separation: dict[str, float] = field(default_factory=dict)
    seeds: tuple[int, ...] = SEEDS
    asked: dict[str, Any] | None = None

    def refused_values(self) -> list[tuple[str, Any]]:
        """Values of fields that nothing read and that must be refused: those of frozen fields."""
        frozen = self.family.expected.keys() | self.family.expected_each.keys()
        unique = {repr(pair): pair for pair in self.family.refused if pair[0] in frozen and pair[1] is not None}
        return list(unique.values())[:MAX_VARIANTS]

    def files(self) -> dict[str, str]:
        """The package as text."""
        return FamilySource(self.names, self.family).files()


def discover(
    model_type: str, name: str, home: str, progress: Callable[[str], None], asked: PreTrainedConfig | None = None
) -> Discovery:
    """Find out what a model type computes; `Refused` or `Unexplained` when it is not ours.

    asked: the config that the user named, whose choices are measured first.
    """
    torch.set_num_threads(1)  # tiny tensors: threads only cost
    config_class = config_class_of(model_type)
    progress(f"tiny model of {model_type}")
    study, sample_asked = _begin(config_class, asked)
    study.run()
    try_combinations(study)
    if sample_asked is not None:
        study.samples.append(sample_asked)
    progress(f"{len(study.samples)} configs observed, {len(study.fields)} fields tried")
    kinds, failed = study_ropes(study)
    for seed in SEEDS[1:]:
        study.samples.append(study.sample(study.base, {}, seed))
    freeze_unrelated(study, lambda: relate(study, [], kinds, failed))
    held_out = _held_out(study)
    seeds = [s for s in study.samples if not s.changes]
    ambiguous, separation = ambiguities([*seeds, *held_out.values()])
    if ambiguous:
        raise Ambiguous(ambiguous)
    if "second config" in held_out:
        study.samples.append(held_out["second config"])  # the third stays unseen
    rules, renamed = _rules(study.samples)
    family = relate(study, rules, kinds, failed)
    family.rule_conditions = renamed
    family.expected |= {} if asked is None else {name: [value] for name, value in given.unread_fields(asked).items()}
    names = names_of(model_type, name, home, config_class, study.model_class)
    named = {"config that was asked for": sample_asked} if any(s is sample_asked for s in study.samples) else {}
    variants = {label: sample.values for label, sample in (named | held_out | _switched(study)).items()}
    variants = {
        label: values
        for label, values in variants.items()
        if all(values.get(n, allowed[0]) in allowed for n, allowed in family.expected.items() if allowed)
        and has_oracle(type(study.base).from_dict(values))
    }
    if family.rope is not None and family.rope.whole_heads:
        ignored = [label for label in variants if label.startswith("rope_parameters=") and label.endswith("share")]
        family.refused += [("rope_parameters", variants.pop(label)["rope_parameters"]) for label in ignored]
        family.expected["rope_parameters"] = []
    asked_fields = None if asked is None else asked.to_dict()
    return Discovery(names, study, family, variants, separation, _seeds(study.base), asked_fields)


def _begin(config_class: type[PreTrainedConfig], asked: PreTrainedConfig | None) -> tuple[Study, Sample | None]:
    """The study of a class's default, and the sample of a tiny copy of the config that was asked for.

    The copy is the base itself where the default cannot be built or is not understood.
    """
    try:
        study = _study_of(_tiny(config_class))
    except (Refused, Unexplained):
        changes = {} if asked is None else given.deviations(asked, ROPE_WIDTH)
        if not changes:
            raise
        return _study_of(_tiny(config_class, changes)), None
    if asked is None:
        return study, None
    widths = [table.head_dim or table.rotary_dim for table in study.samples[0].observation.args.ropes.values()]
    study.preferred = given.deviations(asked, max(widths, default=ROPE_WIDTH))
    if not study.preferred:
        return study, None
    try:
        tiny = find_tiny(config_class, _runs, study.preferred)
    except BUILD_ERRORS:
        return study, None  # a combination that only larger models have; each field is still tried alone
    with _source_in_errors(tiny):
        return study, given.observe(study, tiny)


def _study_of(base: PreTrainedConfig) -> Study:
    """A study with its base observed."""
    model = build(base, SEEDS[0])
    check_causal(model)
    study = Study(base, type(model), SEEDS[0])
    with _source_in_errors(base):
        study.begin()
    return study


@contextmanager
def _source_in_errors(config: PreTrainedConfig) -> Iterator[None]:
    """Add to what escapes the source of the HF module that was not explained."""
    try:
        yield
    except Unexplained as error:
        error.details |= _source_of(build(config, SEEDS[0]), error.where)
        raise


def _held_out(study: Study) -> dict[str, Sample]:
    """Second configs: many fields changed at once, which no expression was fitted on."""
    found: dict[str, Sample] = {}
    base = study.samples[0].observation.args
    singles = [s for s in study.samples if len(s.changes) == 1 and "rope_parameters" not in s.changes]
    singles = [s for s in singles if s.observation.args != base]  # others decide nothing
    for label, order in (("second config", singles), ("third config", singles[::-1])):
        config, changes, sample = study.base, {}, None
        for single in order:
            ((name, value),) = single.changes.items()
            if name in changes or name == depth_field(study.base):
                continue
            try:
                other = canonical(changed(config, **{name: value}))
                if fields_of(other).get(name) != value:
                    continue
                tried = study.sample(other, {**changes, name: value}, SEEDS[1])
                if not _is_steady(other):
                    continue
                sample = tried
            except (Unexplained, Refused, *BUILD_ERRORS):
                continue
            config, changes = sample.config, {**changes, name: value}
        if sample is not None:
            found[label] = study.sample(config, changes, SEEDS[2])
    return found


def _is_steady(config: PreTrainedConfig) -> bool:
    """Whether most random models of a config are fit for a comparison; the proof draws until it has one."""
    steady = (is_steady(build(config, seed), random_tokens(config, seed)) for seed in SEEDS)
    return len(list(itertools.islice(filter(None, steady), 2))) == 2


def _seeds(base: PreTrainedConfig) -> tuple[int, ...]:
    """Seeds of the proof of the base."""
    steady = (seed for seed in range(MAX_SEEDS) if has_oracle(base, seed))
    if not (found := tuple(itertools.islice(steady, len(SEEDS)))):
        raise Unexplained(
            "model", "rounding moves the results of every random model of it, so that nothing can be compared"
        )
    return found


def _switched(study: Study) -> dict[str, Sample]:
    """One observed config for each switch, for the generated tests."""
    found: dict[str, Sample] = {}
    for sample in study.samples:
        if len(sample.changes) == 1:
            ((name, value),) = sample.changes.items()
            if (isinstance(value, bool | str | list) or value is None) and _is_steady(sample.config):
                found.setdefault(f"{name}={value}", sample)
    return dict(list(found.items())[:MAX_VARIANTS])


def _source_of(model: nn.Module, where: str) -> dict[str, Any]:
    """File, lines and text of the HF class whose computation was not explained."""
    module = dict(model.named_modules()).get(where)
    if module is None:
        return {}
    lines, first = inspect.getsourcelines(type(module))
    file = Path(inspect.getsourcefile(type(module)) or "").name
    return {"class": type(module).__name__, "source": f"{file}:{first}", "code": "".join(lines[:MAX_SOURCE_LINES])}


def config_class_of(model_type: str) -> type[PreTrainedConfig]:
    """The config class of a causal decoder; `Refused` for other kinds of models."""
    if model_type not in CONFIG_MAPPING:
        raise Refused(f"transformers has no model type {model_type!r}")
    config_class = CONFIG_MAPPING[model_type]
    if model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise Refused(f"transformers has no causal language model of type {model_type!r}")
    try:
        config = config_class()
        text = config.get_text_config()
    except BUILD_ERRORS as error:
        raise Refused(f"its config has no default: {error}") from error
    if config.is_encoder_decoder:
        raise Refused("it is an encoder-decoder; Archon runs decoders only")
    if config.model_type != model_type and text is config:
        raise Refused(f"transformers runs it as {config.model_type!r}: use that model type")
    if text.model_type != model_type:
        raise Refused(f"it is a multimodal model; its text model is of type {text.model_type!r}")
    return config_class


def names_of(model_type: str, name: str, home: str, config_class: type[PreTrainedConfig], model_class: type) -> Names:
    """What the parts of the package are called."""
    prefix = "".join(part.capitalize() for part in name.split("_"))
    title = model_class.__name__.removesuffix("ForCausalLM").removesuffix("LMHeadModel")
    return Names(
        name=name,
        prefix=prefix,
        title=title,
        model_type=model_type,
        config_class=config_class.__name__,
        architecture=model_class.__name__,
        home=home,
    )


def _runs(config: PreTrainedConfig) -> Any:
    check_size(config)
    return trace(build(config, SEEDS[0]), random_tokens(config, SEEDS[0]))


def _tiny(
    config_class: type[PreTrainedConfig], overrides: Mapping[str, Any] = MappingProxyType({})
) -> PreTrainedConfig:
    try:
        return find_tiny(config_class, _runs, dict(overrides))
    except BUILD_ERRORS as error:
        raise Refused(why_unbuildable(config_class, error)) from error


def _rules(samples: list[Sample]) -> tuple[list[Rule], Mapping[Rule, str]]:
    """Rules of the checkpoints of all samples that differ in their tensors, and of the layout in memory; conditions of some."""
    disks: list[tuple[Sample, list[Rule]]] = []
    memories: list[tuple[Sample, list[Rule]]] = []
    whole: set[Rule] = set()
    seen: set[tuple[object, ...]] = set()
    for sample in samples:
        first = sample.observation.args.layers[0]
        heads = first.mixer.num_kv_heads if isinstance(first.mixer, AttentionArgs) else 0
        kind = frozenset(sample.observation.tensors), heads, first.parallel
        if kind in seen:
            continue
        seen.add(kind)
        model = build(sample.config, sample.seed)
        with tempfile.TemporaryDirectory(prefix="areal-archon-new-") as folder:
            disk = oracle.save(model, Path(folder))
        memory = {name: t.detach() for name, t in model.state_dict().items()}
        for state, rules in ((disk, disks), (memory, memories)):
            inferred = infer_rules(sample.observation.tensors, state)
            rules.append((sample, inferred))
            whole |= {rule for rule in inferred if rule.op == Split() and heads != 1}
    named = named_in_all([(s.observation.args, rules) for s, rules in (*disks, *memories)])
    found, in_memory = (
        dict.fromkeys(r for rules in part for r in rules) for part in (named[: len(disks)], named[len(disks) :])
    )
    everything = [*found, *(rule for rule in in_memory if rule not in found)]
    grouped = {(rule.ours, rule.hf) for rule in everything if isinstance(rule.op, GroupedSplit)}
    layers = [s.observation.args.layers[0] for s, _ in disks]
    # One group is none: what was seen with one key head only is a case of the rule with groups.
    kept = [r for r in everything if r.op != Split() or (r.ours, r.hf) not in grouped or r in whole]
    return kept, conditions(list(zip(layers, named[: len(disks)], strict=True)))
