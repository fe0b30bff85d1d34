# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Which config field changes what: perturbs each field of a tiny config and observes the model again.

A field either has no influence on the logits, or is observed at other values (then `explain` relates it to options), or is
frozen at the values that were explained. Repeated around every switch that turns something on.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN

from areal.experimental.models.archon.hf_fields import WITHOUT_INFLUENCE, is_dropout
from areal.experimental.models.archon.scaffold.alibi import with_other_heads
from areal.experimental.models.archon.scaffold.alternatives import MAX_ALTERNATIVES, alternatives
from areal.experimental.models.archon.scaffold.findings import Refused, Unexplained
from areal.experimental.models.archon.scaffold.hf_model import build, logits_of, random_tokens, trace
from areal.experimental.models.archon.scaffold.observe import Observation, Observer
from areal.experimental.models.archon.scaffold.tiny_config import BUILD_ERRORS, canonical, changed, undeclared_fields
from areal.experimental.models.archon.scaffold.verify import forward_error, gradient_error, ours_of

LOGITS_LIMIT = 2e-5
GRADIENT_LIMIT = 2e-4
NO_INFLUENCE = 1e-7
RETRY = 100
"""Distance to the seed of a second try."""
TIE = "tie_word_embeddings"
MAX_IDLE = 5
"""Values without influence after which a field has none: of an upper bound, only smaller ones change anything."""

logger = logging.getLogger(__name__)


@dataclass
class Sample:
    """A config and what its model was found to be; `changes` are the fields that differ from the base."""

    config: PreTrainedConfig
    changes: dict[str, Any]
    observation: Observation
    errors: tuple[float, float]
    seed: int

    @property
    def values(self) -> dict[str, Any]:
        """The fields of the config."""
        return self.config.to_dict()


@dataclass
class FieldStudy:
    """What is known of one field. `explained`: values with an observation; `idle`: values that changed nothing; `unexplained`: value and why not.

    idle_in, active_in: by mode (fields that were changed before), values that changed nothing there, and whether others did.
    """

    name: str
    base: Any
    has_influence: bool = False
    was_tried: bool = False
    explained: list[Any] = field(default_factory=list)
    idle: list[Any] = field(default_factory=list)
    unexplained: list[tuple[Any, str]] = field(default_factory=list)
    idle_in: dict[str, list[Any]] = field(default_factory=dict)
    active_in: set[str] = field(default_factory=set)

    @property
    def equal_to_base(self) -> list[Any]:
        """Values that compute the same as the base in every mode in which others do not."""
        return [v for v in dict.fromkeys(self.idle) if all(v in self.idle_in.get(mode, ()) for mode in self.active_in)]


class Study:
    """Samples of one family and the state of each field of its config."""

    def __init__(self, base: PreTrainedConfig, model_class: type, seed: int) -> None:
        self.base, self.model_class, self.seed = base, model_class, seed
        self.samples: list[Sample] = []
        self.fields: dict[str, FieldStudy] = {}
        self.tied: dict[str, str] = {}
        self.preferred: dict[str, Any] = {}
        """Values of the config that the user named, tried before others."""
        self._idle: list[tuple[FieldStudy, PreTrainedConfig, dict[str, Any]]] = []
        self._defaults = type(base)().to_dict()

    def default_of(self, name: str) -> Any:
        """The value of a field in the default config of the class."""
        return self._defaults.get(name)

    def begin(self) -> None:
        """Observe the base."""
        self.base = self._without_bound_fields()
        self.samples.append(self.sample(self.base, {}))

    def _without_bound_fields(self) -> PreTrainedConfig:
        """The base less the sizes that its class does not declare and its model takes at their derived value only.

        The rotary table of stablelm looks for `head_dim`, its projections do not. Set in every sample, such a size would hold
        the ones that it follows from, and options would look like constants in the configs without it, which is all of them.
        """
        base = self.base
        for name in sorted(undeclared_fields(type(base)) & fields_of(base).keys()):
            without = copy.deepcopy(base)
            delattr(without, name)
            try:
                trace(build(without, self.seed), random_tokens(without, self.seed))
            except BUILD_ERRORS:
                continue
            try:
                wide = changed(base, **{name: 2 * fields_of(base)[name]})
                trace(build(wide, self.seed), random_tokens(wide, self.seed))
            except BUILD_ERRORS:
                base = without
                continue
            shapes = [{n: t.shape for n, t in build(c, self.seed).state_dict().items()} for c in (base, wide)]
            model, tokens = build(base, self.seed), random_tokens(base, self.seed)
            derived = logits_with_weights_of(model, without, tokens, self.seed)
            if shapes[0] == shapes[1] and is_same(derived, plain_logits(model, tokens)):
                base = without  # gpt_neox: no projection follows it, only the table that must fit them
        return base

    def run(self) -> None:
        """After `begin`: observe every field around the base, then every field around every switch."""
        switches = list(self._around(self.base, {}, fields_of(self.base)))
        for changes, has_new_tensors in switches:
            base = canonical(changed(self.base, **changes))
            names = [n for n in fields_of(base) if n not in changes and (has_new_tensors or self._may_interact(n))]
            for _ in self._around(base, changes, names, limit=1):
                pass
        self._observe_idle()
        self._try_dropouts()

    def _observe_idle(self) -> None:
        """Values that changed nothing, of fields of which others did: what tells the two apart must hold for both."""
        for study, config, changes in self._idle:
            if study.has_influence and study.explained:
                with suppress(Unexplained, Refused, *BUILD_ERRORS):
                    self.samples.append(self.sample(config, changes))

    def _try_dropouts(self) -> None:
        """Probabilities that do not even drop anything in training mode belong to other heads."""
        tokens = random_tokens(self.base, self.seed)
        for name in filter(is_dropout, self.base.to_dict()):
            logits = []
            for probability in (0.0, 0.9):
                try:
                    model = build(changed(self.base, **{name: probability}), self.seed).train()
                except BUILD_ERRORS:
                    break
                torch.manual_seed(self.seed)
                logits.append(plain_logits(model, tokens))
            if len(logits) == 2 and torch.equal(*logits):
                self.fields[name] = FieldStudy(name, self.base.to_dict()[name], was_tried=True)

    def _may_interact(self, name: str) -> bool:
        """Whether a field is worth another look once a switch was flipped: all but sizes, activations and tying."""
        study = self.fields.get(name)
        if study is None or not study.has_influence:
            return True
        is_number = isinstance(study.base, int) and not isinstance(study.base, bool)
        is_activation = isinstance(study.base, str) and study.base in ACT2FN
        return not is_number and not is_activation and name != TIE

    def sample(self, config: PreTrainedConfig, changes: dict[str, Any], seed: int | None = None) -> Sample:
        """Observe one config, and compare the whole: raises what `Observer` raises, or that the whole differs.

        A random model may hold a near tie of experts that rounding breaks either way, so that another seed is given a try.
        """
        seed = self.seed if seed is None else seed
        try:
            return self._sample(config, changes, seed)
        except Unexplained:
            return self._sample(config, changes, seed + RETRY)

    def _sample(self, config: PreTrainedConfig, changes: dict[str, Any], seed: int) -> Sample:
        model = build(config, seed)
        record = trace(model, random_tokens(config, seed))
        observation = Observer(record).observe()
        if (other := with_other_heads(config, observation.args)) is not None:
            Observer(trace(build(other, seed), random_tokens(other, seed))).observe()
        ours = ours_of(observation.args, observation.tensors)
        is_base = not changes
        gradients = gradient_error(model, ours, record.tokens)[0] if is_base else 0.0
        errors = forward_error(model, ours, record.tokens), gradients
        if errors[0] > LOGITS_LIMIT or errors[1] > GRADIENT_LIMIT:
            raise Unexplained(
                "model", f"all parts agree but the whole differs (logits {errors[0]:.1e}, gradients {errors[1]:.1e})"
            )
        return Sample(config, changes, observation, errors, seed)

    def _around(
        self, base: PreTrainedConfig, changes: dict[str, Any], names: Iterable[str], limit: int = MAX_ALTERNATIVES
    ) -> Iterator[tuple[dict[str, Any], bool]]:
        """Change each field of a base alone; yields the changes that switch something, and whether tensors came with it."""
        model = build(base, self.seed)
        tokens = random_tokens(base, self.seed)
        expected = plain_logits(model, tokens)
        for name in names:
            value = fields_of(base)[name]
            study = self.fields.setdefault(name, FieldStudy(name, value))
            num_working = num_idle = 0
            for other in self._alternatives(base, name, value):
                if num_working == limit or num_idle == (limit if changes and value is not None else MAX_IDLE):
                    break
                outcome = self._try(base, model, tokens, expected, {name: other}, changes, study)
                num_working += outcome is not None and study.has_influence
                num_idle += outcome is not None and not study.has_influence
                if outcome and name != TIE and _is_switch(value, other):
                    names = [general_names(s.observation) for s in (self.samples[0], self.samples[-1])]
                    is_off = isinstance(value, int) and not isinstance(value, bool) and 0 in (value, other)
                    yield {**changes, name: other}, is_off or bool(names[1] - names[0])

    def _alternatives(self, base: PreTrainedConfig, name: str, value: Any) -> list[Any]:
        others = alternatives(base, self.model_class, name, value)
        if name not in self.preferred or self.preferred[name] == value:
            return others
        wanted = self.preferred[name]
        return [wanted, *(other for other in others if repr(other) != repr(wanted))]

    def _try(
        self,
        base: PreTrainedConfig,
        model: PreTrainedModel,
        tokens: Tensor,
        expected: Tensor,
        change: dict[str, Any],
        changes: dict[str, Any],
        study: FieldStudy,
    ) -> bool | None:
        """Whether a change has an influence that was explained; None when no such model can be built."""
        (other,) = change.values()
        try:
            config = canonical(changed(base, **change))
        except BUILD_ERRORS:
            return None
        try:
            # Not read back from its file: the class might change other fields with it.
            got = logits_with_weights_of(model, changed(base, **change), tokens, self.seed)
        except BUILD_ERRORS:
            try:
                got = logits_with_weights_of(model, config, tokens, self.seed)
            except BUILD_ERRORS:
                return None
        if fields_of(config).get(study.name) != other:
            return None  # the class puts another value in its place
        # A tied model computes the same as an untied one with equal matrices, and is another family of checkpoints.
        if study.name != TIE and is_same(got, expected):
            study.idle.append(other)
            study.idle_in.setdefault(repr(changes), []).append(other)
            self._idle.append((study, config, {**changes, **change}))
            # A mode that does not read a field says nothing of the base, where it could not be changed.
            study.was_tried |= not changes or study.name not in fields_of(self.base)
            return False
        study.was_tried = True
        study.has_influence = True
        study.active_in.add(repr(changes))
        try:
            self.samples.append(self.sample(config, {**changes, **change}))
            study.explained.append(other)
            return True
        except (Unexplained, Refused) as error:
            study.unexplained.append((other, str(error)))
        except BUILD_ERRORS as error:
            study.unexplained.append((other, f"{type(error).__name__}: {error}"))
        return False


def general_names(observation: Observation) -> frozenset[str]:
    """The names of our tensors without layer numbers."""
    return frozenset(re.sub(r"\.\d+\.", ".", name) for name in observation.tensors)


def fields_of(config: PreTrainedConfig) -> dict[str, Any]:
    """The fields of a config that may mean something, rotary parameters aside (see `rope_study`)."""
    return {
        name: value
        for name, value in config.to_dict().items()
        if name not in WITHOUT_INFLUENCE and not is_dropout(name) and not isinstance(value, dict) and name[0] != "_"
    }


def _is_switch(value: Any, other: Any) -> bool:
    """Whether a change turns something on or off, rather than changing its size."""
    if isinstance(value, str) and value in ACT2FN:
        return False
    is_off = other == 0 or (value == 0 and not isinstance(value, float))
    return isinstance(value, bool | str | list) or value is None or (other is None and value != 0) or is_off


def is_same(got: Tensor | None, expected: Tensor) -> bool:
    """Whether logits did not change; None are those of other tensors."""
    return got is not None and float((got - expected).abs().max()) <= NO_INFLUENCE * float(expected.abs().max())


def plain_logits(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Logits without gradients."""
    with torch.no_grad():
        return logits_of(model, tokens)


def logits_with_weights_of(
    model: PreTrainedModel, config: PreTrainedConfig, tokens: Tensor, seed: int
) -> Tensor | None:
    """Logits of another config with the same weights; None when they do not fit."""
    other = build(copy.deepcopy(config), seed)
    state = model.state_dict()
    if {n: t.shape for n, t in state.items()} != {n: t.shape for n, t in other.state_dict().items()}:
        plain_logits(other, tokens.clamp(max=config.vocab_size - 1))
        return None
    other.load_state_dict(state)
    return plain_logits(other, tokens)
