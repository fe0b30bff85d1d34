# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Changes beyond S1 to S26: names that stay but become something else, and rewrites that callers do not notice."""

import zipfile

import pytest

from areal.harness.apiaudit.errors import SourcesUnavailable
from areal.harness.apiaudit.library.wheels import from_path
from areal.harness.apiaudit.packages import find_package
from areal.harness.apiaudit.service import audit_release
from tests.harness.apiaudit.breaking_changes import BREAKS
from tests.harness.apiaudit.fakelib import Case, codes, write_files
from tests.harness.apiaudit.harmless_changes import HARMLESS

BREAK, NOTE = "BREAK", "NOTE"


@pytest.mark.parametrize("name", BREAKS)
def test_change_of_kind_is_a_break_at_our_call_site(tmp_path, name):
    v1, v2, client, expected = BREAKS[name]
    result = Case(tmp_path).audit(v1, v2, client)
    assert (BREAK, expected) in codes(result), (codes(result), result.unverifiable)
    assert codes(Case(tmp_path / "same").audit(v1, v1, client)) == []


@pytest.mark.parametrize("name", HARMLESS)
def test_rewrite_that_callers_do_not_notice_is_silent(tmp_path, name):
    v1, v2, client = HARMLESS[name]
    result = Case(tmp_path).audit(v1, v2, client)
    assert [each for each in codes(result) if each[0] != NOTE] == []


def test_source_of_another_python_is_unverifiable_and_no_break(tmp_path):
    v1 = {"__init__.py": "", "a.py": "def f(): ..."}
    v2 = {"__init__.py": "", "a.py": "def f():\n    try: ...\n    except A B: ...\n"}
    result = Case(tmp_path).audit(v1, v2, "from fakelib.a import f\nf()")
    assert codes(result) == []
    assert [each["reason"] for each in result.unverifiable] == ["fakelib.a does not parse with this Python"] * 1
    assert result.stats["checked"] == 0


def test_wheel_on_disk_never_becomes_what_its_version_means(tmp_path, monkeypatch):
    monkeypatch.setenv("AREAL_API_CACHE", str(tmp_path / "cache"))
    wheel = tmp_path / "datasets-5.2.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("datasets/__init__.py", "changed = 1")
    release = from_path(wheel)
    assert (release.package, release.version) == ("datasets", "5.2.0")
    assert not (tmp_path / "cache" / "index").exists()


def test_release_without_the_package_is_refused(tmp_path):
    write_files(
        tmp_path, {"areal/client.py": "import datasets\ndatasets.load_dataset('x')", "wheel/other/__init__.py": ""}
    )
    with pytest.raises(SourcesUnavailable, match="holds no module datasets"):
        audit_release(tmp_path, find_package("datasets"), from_path(tmp_path / "wheel"), None)
