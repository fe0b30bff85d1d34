# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A switch whose effect has no expression is set aside; sizes are not, and an option nobody can explain is reported."""

from types import SimpleNamespace

import pytest

from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.freezing import freeze_unrelated
from areal.experimental.models.archon.scaffold.sensitivity import FieldStudy


def study_of(**bases):
    samples = [SimpleNamespace(changes={}), *(SimpleNamespace(changes={name: "other"}) for name in bases)]
    fields = {name: FieldStudy(name, base, True, True, ["other"]) for name, base in bases.items()}
    return SimpleNamespace(samples=samples, fields=fields)


def relating(study, *culprits):
    """A relation that finds no expression for an option while samples of its culprit are there."""

    def relate():
        for n, culprit in enumerate(culprits):
            if any(culprit in sample.changes for sample in study.samples):
                raise Unexplained(f"option {n}", "no expression")

    return relate


def test_switches_that_have_no_expression_are_set_aside_with_the_reason():
    study = study_of(a=True, b=False, size=64, c="x")
    freeze_unrelated(study, relating(study, "b", "c"))
    assert [sample.changes for sample in study.samples] == [{}, {"a": "other"}, {"size": "other"}]
    assert study.fields["b"].explained == [] and study.fields["b"].unexplained[0][0] == "other"
    assert "option 1" in study.fields["c"].unexplained[0][1] and study.fields["a"].explained == ["other"]


def test_size_without_an_expression_is_reported():
    study = study_of(a=True, size=64)
    with pytest.raises(Unexplained, match="option 0"):
        freeze_unrelated(study, relating(study, "size"))
    assert len(study.samples) == 3
