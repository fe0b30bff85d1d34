# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast

import pytest

from areal.harness.skills.edits import Entry, add_dict_entry, has_entry
from areal.harness.skills.problems import Conflict

ENTRY = Entry("x.py", "D", "new", '"home"')
SOURCES = {
    "many lines": 'D = {\n    "a": "b",\n}\n',
    "annotated": 'D: dict[str, str] = {\n    "a": "b",\n}\n"""doc"""\n',
    "no comma": 'D = {\n    "a": "b"\n}\n',
    "comment": 'D = {\n    "a": "b",  # why\n    # more\n}\n',
    "one line": 'D = {"a": "b"}\n',
    "one line in a call": 'x = f(__name__, y, D={"z": 1})\nD = {"a": "b", **x}\n',
    "empty": "D = {}\n",
    "empty, two lines": "D = {\n}\n",
    "wide characters": 'D = {\n    "日本": "東京"\n}\n',
    "value over lines": 'D = {\n    "a": f(\n        1,\n    ),\n}\n',
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_add_dict_entry_appends_once_and_keeps_the_rest(source: str) -> None:
    edited = add_dict_entry(source, ENTRY)
    assert not has_entry(source, ENTRY) and has_entry(edited, ENTRY)
    assert add_dict_entry(edited, ENTRY) == edited
    second = add_dict_entry(edited, Entry("x.py", "D", "second", "Entry(a=1)"))
    ast.parse(second)
    assert second.count('"new": "home",') == 1 and second.count('"second": Entry(a=1),') == 1
    for word in ("# why", "# more", "東京", "f("):
        assert (word in source) == (word in second)


def test_add_dict_entry_argument_of_a_call() -> None:
    source = 'a, b = attach(__name__, {"X": "pkg.x"})\n'
    edited = add_dict_entry(source, Entry("x.py", "attach()", "Y", '"pkg.y"'))
    assert edited == 'a, b = attach(__name__, {\n    "X": "pkg.x",\n    "Y": "pkg.y",\n})\n'


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("E = {}\n", "S030"),
        ("D = {}\nD = {}\n", "S030"),
        ("D = dict()\n", "S030"),
        ("D = {\n", "S030"),
        ('D = {"new": "elsewhere"}\n', "S031"),
    ],
)
def test_add_dict_entry_missing_anchor_and_taken_key_are_conflicts(source: str, code: str) -> None:
    with pytest.raises(Conflict) as caught:
        add_dict_entry(source, ENTRY)
    assert caught.value.code == code and caught.value.exit == 3
