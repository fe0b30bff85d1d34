# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Sets aside switches whose effect was measured but follows from no expression, so that the rest of a family can be written.

Such a field keeps the base's value and is refused at any other; see `relate`. Called by `pipeline`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.sensitivity import TIE, Study

MAX_FROZEN = 3


def freeze_unrelated(study: Study, relate: Callable[[], object]) -> None:
    """Remove samples from a study until `relate` succeeds on it; `Unexplained`, as at first, when no switch is to blame."""
    for _ in range(MAX_FROZEN):
        try:
            relate()
            return
        except Unexplained as error:
            if not any(_resolves(study, name, error, relate) for name in _switches(study)):
                raise
    relate()


def _resolves(study: Study, name: str, error: Unexplained, relate: Callable[[], object]) -> bool:
    """Whether the option that has no expression has one without the changes of a field; they are set aside then."""
    everything = study.samples
    study.samples = [s for s in everything if name not in s.changes]
    try:
        relate()
    except Unexplained as other:
        if other.where == error.where:
            study.samples = everything
            return False
    field = study.fields[name]
    field.unexplained += [(value, str(error)) for value in field.explained]
    field.explained = []
    return True


def _switches(study: Study) -> Iterator[str]:
    """Fields that were changed and are no sizes: a size at one value only would be no family."""
    for field in study.fields.values():
        is_size = isinstance(field.base, int) and not isinstance(field.base, bool)
        if field.explained and not is_size and field.name != TIE:
            yield field.name
