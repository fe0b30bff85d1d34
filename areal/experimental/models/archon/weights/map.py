# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The weight map of one model: rules applied to its parameter names and shapes.

Reading, writing, expected HF names and shapes, completeness and strictness all follow from it. Used by whoever loads or
exports weights (adapters, the training engine, the embedded server); holds no tensors and moves none between devices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from areal.experimental.models.archon.weights.ops import Op, Shape
from areal.experimental.models.archon.weights.rules import Rule
from areal.utils.errors import CheckpointError

IGNORED_SUFFIXES = (".rotary_emb.inv_freq",)
"""Constant buffers that old checkpoints stored beside the weights."""
_WILDCARDS = {"{i}": r"(?P<i>\d+)", "{p}": r"(?P<p>weight|bias)"}


@dataclass(frozen=True)
class Entry:
    """An applied rule: these parameters of ours are these HF tensors."""

    ours: tuple[str, ...]
    hf: tuple[str, ...]
    shapes: tuple[Shape, ...]
    op: Op | None

    def to_ours(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our tensors of a state that has all of `hf`; `CheckpointError` when they come out in another shape."""
        tensors = [state[name] for name in self.hf]
        try:
            tensors = tensors if self.op is None else self.op.to_ours(tensors, self.shapes)
        except (RuntimeError, IndexError) as error:
            raise self._misfit([tuple(state[name].shape) for name in self.hf]) from error
        if [tuple(t.shape) for t in tensors] != list(self.shapes):
            raise self._misfit([tuple(state[name].shape) for name in self.hf])
        return dict(zip(self.ours, tensors, strict=True))

    def to_hf(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The HF tensors of a state that has all of `ours`."""
        tensors = [state[name] for name in self.ours]
        return dict(zip(self.hf, tensors if self.op is None else self.op.to_hf(tensors), strict=True))

    def hf_shapes(self) -> dict[str, Shape]:
        """Name and shape of its HF tensors."""
        meta = {name: torch.empty(shape, device="meta") for name, shape in zip(self.ours, self.shapes, strict=True)}
        return {name: tuple(tensor.shape) for name, tensor in self.to_hf(meta).items()}

    def _misfit(self, got: Sequence[Shape]) -> CheckpointError:
        wanted = list(self.hf_shapes().values())
        return CheckpointError(
            f"expected {_some(self.hf)} of shape {_some(wanted)}, got {_some(got)}; the checkpoint is of another model"
        )


class WeightMap:
    """The map of one model. `shapes` are those of our full (unsharded) state, `rules` the family's.

    optional: our names that a checkpoint may lack, because the model initialises them (a critic's score). tied: HF names
    that may repeat another one. ignored: prefixes of HF names that nothing reads (vision towers, multi-token heads).
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        shapes: Mapping[str, Shape],
        *,
        optional: frozenset[str] = frozenset(),
        tied: Mapping[str, str] | None = None,
        ignored: tuple[str, ...] = (),
    ) -> None:
        self._optional, self._tied, self._ignored = optional, dict(tied or {}), ignored
        self._readers: dict[str, list[Entry]] = {name: [] for name in shapes}
        for rule in rules:
            for entry in _apply(rule, shapes):
                for name in entry.ours:
                    self._readers[name].append(entry)
        if uncovered := sorted(name for name, entries in self._readers.items() if not entries):
            raise ValueError(
                f"expected a rule for every parameter, got none for {_some(uncovered)}; add it to the family"
            )
        self.entries = list(dict.fromkeys(entries[0] for entries in self._readers.values()))
        self._writer = {name: entry for entry in self.entries for name in entry.ours}

    def hf_names(self) -> list[str]:
        """Every HF name we write, in order."""
        return [name for entry in self.entries for name in entry.hf]

    def hf_shapes(self) -> dict[str, Shape]:
        """Name and shape of every HF tensor we write."""
        shapes: dict[str, Shape] = {}
        for entry in self.entries:
            shapes |= entry.hf_shapes()
        return shapes

    def plan(self, hf_names: Iterable[str], only: frozenset[str] | None = None) -> list[Entry]:
        """How to read a checkpoint with these tensors: the entries that are complete in it.

        `only` restricts it to some of our names (one pipeline stage); the whole checkpoint is still checked. Raises
        `CheckpointError` naming tensors that are missing or that nothing would read.
        """
        present = set(hf_names)
        chosen: dict[Entry, None] = {}
        missing: dict[str, None] = {}
        explained: set[str] = set()
        for name, entries in self._readers.items():
            entry = next((e for e in entries if present.issuperset(e.hf)), None)
            if entry is not None:
                chosen[entry] = None
            elif name not in self._optional:
                # The layout that the checkpoint nearly has: one expert that is missing leaves the others known.
                nearest = max(entries, key=lambda e: sum(n in present for n in e.hf) / len(e.hf))
                missing |= dict.fromkeys(n for n in nearest.hf if n not in present)
                explained |= present.intersection(nearest.hf)
        explained |= {name for entry in chosen for name in entry.hf}
        unknown = sorted(n for n in present - explained if not self._may_skip(n))
        if missing or unknown:
            odd = [f"{what} {_some(names)}" for what, names in (("missing", [*missing]), ("unknown", unknown)) if names]
            raise CheckpointError(
                f"expected the {len(self.hf_names())} tensors of this model, got {' and '.join(odd)}; export every parameter "
                "once under its HF name"
            )
        return [entry for entry in chosen if only is None or only.issuperset(entry.ours)]

    def from_hf(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our parameters of a complete HF state; `CheckpointError` on missing, unknown, misshaped or untied tensors."""
        self.check_tied(state)
        ours: dict[str, Tensor] = {}
        for entry in self.plan(state):
            ours |= entry.to_ours(state)
        return ours

    def tied_pairs(self, hf_names: Iterable[str]) -> list[tuple[str, str]]:
        """Pairs of a checkpoint's tensors that `check_tied` compares: the repeated one and the one it repeats."""
        present = set(hf_names)
        return [(repeated, name) for repeated, name in self._tied.items() if repeated in present and name in present]

    def check_tied(self, state: Mapping[str, Tensor]) -> None:
        """Raise `CheckpointError` when a repeated tensor differs from the one it repeats."""
        for repeated, name in self._tied.items():
            if repeated in state and name in state and not torch.equal(state[repeated], state[name]):
                raise CheckpointError(
                    f"expected {repeated} to equal {name} (the config ties them), got other values; "
                    "set tie_word_embeddings=false or export one of them"
                )

    def to_hf(self, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """`(HF name, tensor)` of a complete state of ours. Works on meta tensors."""
        if state.keys() != self._writer.keys():
            odd = sorted(state.keys() ^ self._writer.keys())
            raise CheckpointError(f"expected exactly the model's parameters, got a difference in {_some(odd)}")
        for entry in self.entries:
            yield from entry.to_hf(state).items()

    def entry_of(self, name: str) -> Entry:
        """The entry that writes one of our parameters."""
        return self._writer[name]

    def _may_skip(self, hf_name: str) -> bool:
        return hf_name in self._tied or hf_name.endswith(IGNORED_SUFFIXES) or hf_name.startswith(self._ignored)


def _apply(rule: Rule, shapes: Mapping[str, Shape]) -> Iterator[Entry]:
    """The entries of a rule: one for each binding of its wildcards under which we have all its parameters."""
    pattern = re.escape(rule.ours[0])
    for wildcard, regex in _WILDCARDS.items():
        pattern = pattern.replace(re.escape(wildcard), regex, 1).replace(re.escape(wildcard), f"(?P={wildcard[1]})")
    for name in shapes:
        match = re.fullmatch(pattern, name)
        if match is None:
            continue
        ours = tuple(_bind(part, match.groupdict()) for part in rule.ours)
        if not all(part in shapes for part in ours):
            continue
        hf = [_bind(part, match.groupdict()) for part in rule.hf]
        num_experts = shapes[name][0] if any("{e}" in part for part in hf) else 1
        names = tuple(part.replace("{e}", str(e)) for part in hf for e in range(num_experts if "{e}" in part else 1))
        yield Entry(ours, names, tuple(shapes[part] for part in ours), rule.op)


def _bind(pattern: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        pattern = pattern.replace("{" + name + "}", value)
    return pattern


def _some(names: Sequence[object], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{list(names[:limit])}{more}"
