# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Expressions over config fields are found from values alone, and give the same values on fields they were not fitted on."""

import pytest

from areal.experimental.models.archon.model_args import NormArgs
from areal.experimental.models.archon.scaffold.explain import Choice, Leaf, Struct, explain
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.terms import Point, Terms

BASE = {"width": 64, "heads": 4, "scale": 0.3, "limit": None, "deep": True, "kind": "a", "skip": 2}
CHANGES = [{}, {"width": 96}, {"heads": 2}, {"scale": 0.7}, {"limit": 3}, {"deep": False}, {"kind": "b"}, {"skip": 3}]


def terms_of(value, layers=None):
    """Terms over the points of all changes, and the values of `value(fields, layer)` there."""
    fields = [{**BASE, **change} for change in CHANGES]
    points = [Point(f, None, layer) for f in fields for layer in (range(layers) if layers else [None])]
    return Terms(points), [value(point.fields, point.layer) for point in points]


def code_of(value, layers=None):
    terms, values = terms_of(value, layers)
    node = explain("option", terms, range(len(values)), values)
    assert isinstance(node, Leaf)
    return node.code


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (lambda f, i: 7, "7"),
        (lambda f, i: f["width"], 'hf("width")'),
        (lambda f, i: f["width"] // f["heads"], 'hf("width") // hf("heads")'),
        (lambda f, i: f["width"] ** 0.5, 'hf("width") ** 0.5'),
        (lambda f, i: 1 / f["scale"], '1 / hf("scale")'),
        (lambda f, i: (f["width"] / f["heads"]) ** -0.5, '(hf("width") / hf("heads")) ** -0.5'),
        (lambda f, i: 2 * f["width"], '2 * hf("width")'),
        (lambda f, i: f["limit"], 'hf("limit")'),
        (lambda f, i: f["deep"], 'hf("deep")'),
        (lambda f, i: f["kind"] == "b" or not f["deep"], 'not hf("deep") or hf("kind") == "b"'),
    ],
)
def test_value_of_a_config_is_given_by_the_simplest_expression(value, code):
    assert code_of(value) == code


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (lambda f, i: i >= f["skip"], 'i >= hf("skip")'),
        (lambda f, i: (i + 1) % f["skip"] == 0, '(i + 1) % hf("skip") == 0'),
        (lambda f, i: f["deep"] and i >= f["skip"], 'hf("deep") and i >= hf("skip")'),
    ],
)
def test_value_of_a_layer_is_given_by_a_predicate_over_its_index(value, code):
    assert code_of(value, layers=5) == code


def test_size_is_no_rounded_quotient():
    terms, values = terms_of(lambda f, i: f["width"] // 8)
    with pytest.raises(Unexplained):
        explain("option", terms, range(len(values)), values)


def test_width_by_the_rounding_rule_of_llama_is_found():
    base = {"width": 40, "multiple_of": 16, "factor": 1.3}
    changes = [{}, {"width": 80}, {"width": 41}, {"multiple_of": 12}, {"factor": 2.1}]
    points = [Point({**base, **change}, None, None) for change in changes]
    values = [-(-int(p.fields["factor"] * int(2 * p.fields["width"] / 3)) // p.fields["multiple_of"]) for p in points]
    values = [v * p.fields["multiple_of"] for v, p in zip(values, points)]
    node = explain("option", Terms(points), range(len(values)), values)
    assert node == Leaf('rounded_up(hf("factor") * int(2 * hf("width") / 3), hf("multiple_of"))')


def test_option_that_is_absent_in_some_configs_becomes_a_choice():
    terms, values = terms_of(lambda f, i: NormArgs(eps=f["scale"]) if f["deep"] else None)
    node = explain("norm", terms, range(len(values)), values)
    assert isinstance(node, Choice) and node.predicate == 'hf("deep")' and node.other == Leaf("None")
    assert isinstance(node.then, Struct) and node.then.fields["eps"] == Leaf('hf("scale")')


def test_value_that_follows_from_no_field_is_reported():
    terms, values = terms_of(lambda f, i: hash(str(f)) % 1000 / 7.0)
    with pytest.raises(Unexplained, match="no expression"):
        explain("option", terms, range(len(values)), values)


def test_option_under_three_conditions_is_found_whichever_side_comes_first():
    def value(f, i):
        return f["scale"] if i >= f["skip"] and f["deep"] and f["kind"] == "a" else NormArgs(eps=f["scale"])

    terms, values = terms_of(lambda f, i: NormArgs(eps=f["scale"]) if value(f, i) != f["scale"] else None, layers=5)
    node = explain("option", terms, range(len(values)), values)
    assert isinstance(node, Choice) and node.then == Leaf("None")
    assert sorted(node.predicate.split(" and ")) == ['hf("deep")', 'hf("kind") == "a"', 'i >= hf("skip")']
