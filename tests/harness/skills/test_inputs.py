# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from areal.harness.core.errors import UsageProblem
from areal.harness.skills.definition import Definition, Input
from areal.harness.skills.inputs import as_settings, check_inputs, parse_settings

HOSTILE = [
    "",
    "../x",
    "/etc/x",
    "a/b",
    "a.b",
    "a\\b",
    "Upper",
    "1st",
    "_private",
    "a__b",
    "a_",
    "a-b",
    "class",
    "match",
    "None",
    "nul",
    "com1",
    "naïve",
    "ａｂｃ",
    "а",  # Cyrillic
    "a\u200bb",
    "a b",
    "a\nb",
    "a;rm",
    "${x}",
    "{name}",
    "{{ name }}",
    "x" * 41,
    "reserved_one",
]


def definition(*inputs: Input) -> Definition:
    return Definition(name="s", description="", body="", folder=Path(), kind="change", inputs=inputs)


def spec(kind: str, **settings: Any) -> Definition:
    return definition(Input(name="x", type=kind, help="an input", **settings))


@pytest.mark.parametrize("name", HOSTILE)
def test_identifier_hostile_name_is_refused(name: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        check_inputs(spec("identifier", reserved=("reserved_one",)), {"x": name})
    assert caught.value.code == "S004" and caught.value.exit == 2


@pytest.mark.parametrize("name", ["a", "my_reward", "r2d2", "x" * 40])
def test_identifier_plain_name_is_taken(name: str) -> None:
    assert check_inputs(spec("identifier"), {"x": name}) == {"x": name}


@pytest.mark.parametrize(
    ("kind", "settings", "value", "expected"),
    [
        ("enum", {"values": ("a", "b")}, "b", "b"),
        ("bool", {}, "TRUE", True),
        ("bool", {}, "no", False),
        ("int", {"min": 1, "max": 4}, "4", 4),
        ("list", {}, "a, b", ["a", "b"]),
        ("mapping", {"values": ("q", "a")}, "q:problem,a:solution", {"q": "problem", "a": "solution"}),
        ("slug", {}, "add-thing", "add-thing"),
        ("string", {"pattern": "[0-9]+"}, "12", "12"),
        ("path", {}, str(Path(__file__)), str(Path(__file__).resolve())),
    ],
)
def test_input_good_value_is_parsed(kind: str, settings: dict[str, Any], value: str, expected: Any) -> None:
    assert check_inputs(spec(kind, **settings), {"x": value}) == {"x": expected}


@pytest.mark.parametrize(
    ("kind", "settings", "value"),
    [
        ("enum", {"values": ("a", "b")}, "c"),
        ("bool", {}, "maybe"),
        ("int", {"min": 1, "max": 4}, "5"),
        ("int", {"min": 1}, "0"),
        ("int", {}, "1.5"),
        ("int", {}, "٣"),
        ("list", {}, "a,,b"),
        ("list", {}, "a,a"),
        ("mapping", {}, "q"),
        ("mapping", {"values": ("q",)}, "z:1"),
        ("mapping", {}, "q:1,q:2"),
        ("slug", {}, "a--b"),
        ("slug", {}, "../b"),
        ("string", {}, "two\nlines"),
        ("string", {"max": 3}, "four"),
        ("string", {"pattern": "[0-9]+"}, "12x"),
        ("path", {}, "/no/such/file"),
    ],
)
def test_input_bad_value_is_refused(kind: str, settings: dict[str, Any], value: str) -> None:
    with pytest.raises(UsageProblem, match="x="):
        check_inputs(spec(kind, **settings), {"x": value})


def test_check_inputs_all_problems_come_at_once_with_suggestions() -> None:
    both = definition(
        Input(name="name", type="identifier", help="the name", required=True),
        Input(name="kind", type="enum", values=("exact", "math"), help="which"),
    )
    with pytest.raises(UsageProblem) as caught:
        check_inputs(both, {"nam": "x", "kind": "exakt"})
    assert [problem["code"] for problem in caught.value.details["problems"]] == ["S002", "S003", "S004"]
    assert "did you mean name?" in caught.value.message and "did you mean exact?" in caught.value.message


def test_parse_settings_repeated_key_and_missing_value_are_refused() -> None:
    assert parse_settings(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
    for words, code in ((["a"], "S004"), (["=1"], "S004"), (["a=1", "a=2"], "S005")):
        with pytest.raises(UsageProblem) as caught:
            parse_settings(words)
        assert caught.value.code == code


def test_as_settings_repeat_what_is_not_default() -> None:
    some = definition(
        Input(name="loud", type="bool", default=True, help="loud"),
        Input(name="columns", type="mapping", help="columns"),
        Input(name="size", type="int", default=3, help="size"),
    )
    values = check_inputs(some, {"loud": "no", "columns": "a:b"})
    words = as_settings(some, values)
    assert words == ["--set", "loud=false", "--set", "columns=a:b"]
    assert check_inputs(some, parse_settings(words[1::2])) == values
