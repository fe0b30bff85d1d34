# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from areal.harness.core.errors import UsageProblem
from areal.harness.deps.consistency import check_all, check_lock, check_manifests
from areal.harness.deps.containers import container_edits
from areal.harness.deps.locks import VARIANTS
from areal.harness.deps.manifest import Manifest, read_manifests, with_version
from areal.harness.deps.requests import parse_requests

ROOT = Path(__file__).parents[3]
TEXT = """
[project]
name = "x"
version = "1"
dependencies = [
  "torch>=2.11,<2.14",  # maths
  "Trans_Formers >=5.10, <6 ; python_version > '3.8'",
]
[project.optional-dependencies]
vllm = ["vllm[a,b]==0.32.0"]  # the server
other = ["torch~=2.11", "git-thing @ git+ssh://somewhere/x.git"]
[tool.uv]
override-dependencies = ["torch==2.13.0"]
[[tool.uv.dependency-metadata]]
name = "vllm"
requires-dist = ["torch==2.13.0"]
"""


def manifest(text=TEXT, index=0):
    return Manifest(VARIANTS[index], text)


def test_every_place_that_declares_a_package_is_found():
    assert [site.table for site in manifest().declaring("torch")] == [
        "project/dependencies",
        "project/optional-dependencies/other",
        "tool/uv/override-dependencies",
        "tool/uv/dependency-metadata/0/requires-dist",
    ]


@pytest.mark.parametrize(
    ("requirement", "version", "expected"),
    [
        ("a==1.0", "2.0", "a==2.0"),
        ("a[x,y]==1.0 ; python_version > '3.8'", "2.0", "a[x,y]==2.0; python_version > '3.8'"),
        ("a>=1,<3", "2.5", "a>=1,<3"),
        ("a>=1,<2.4", "2.5.1", "a>=1,<2.6"),
        ("a>=1,<6", "7.2", "a>=1,<8"),
        ("a>=3,<6", "2.5", "a>=2.5,<6"),
        ("a~=1.2", "2.5", "a~=2.5"),
        ("a", "2.5", "a"),
    ],
)
def test_requirement_moves_only_as_far_as_the_version_needs(requirement, version, expected):
    text = f'[project]\ndependencies = ["{requirement}"]\n'
    assert with_version(manifest(text).sites[0], version).new.replace(" ;", ";") == expected


def test_edit_keeps_comments_and_markers():
    edited = manifest()
    for site in edited.declaring("torch"):
        edited.apply(with_version(site, "2.14.1"))
    changed = [line for line in edited.diff().splitlines() if line.startswith(("+ ", "- ", "+o", "-o", "+r", "-r"))]
    assert '+  "torch>=2.11,<2.15",  # maths' in changed
    assert '+override-dependencies = ["torch==2.14.1"]' in changed
    assert '+requires-dist = ["torch==2.14.1"]' in changed
    assert not any("Trans_Formers" in line for line in changed)


def test_requirement_with_an_address_is_refused():
    with pytest.raises(UsageProblem, match="pinned to an address"):
        with_version(manifest().declaring("git-thing")[0], "1.0")


def test_broken_manifest_is_a_usage_problem():
    with pytest.raises(UsageProblem, match="not valid TOML"):
        manifest("[project\n")


def test_request_without_variant_for_a_divergent_package_lists_the_choices():
    both = [manifest(TEXT), manifest(TEXT.replace("<2.14", "<2.15"), 1)]
    with pytest.raises(UsageProblem, match=r"torch==2\.14\.0@sglang or torch==2\.14\.0@vllm") as caught:
        parse_requests(["torch==2.14.0"], both)
    assert caught.value.code == "D010"


@pytest.mark.parametrize(
    ("spec", "code"),
    [("tranformers==5.0", "D001"), ("torch", "bad_spec"), ("torch==x.y", "bad_spec"), ("torch==2.1@tpu", "bad_spec")],
)
def test_request_that_cannot_be_used_says_why(spec, code):
    with pytest.raises(UsageProblem) as caught:
        parse_requests([spec], [manifest(), manifest(index=1)])
    assert caught.value.code == code


def test_server_belongs_to_the_variant_of_its_name():
    (request,) = parse_requests(["vllm==0.33.0"], [manifest(), manifest(index=1)])
    assert request.variants == ("vllm",)


def test_two_versions_of_one_package_are_refused():
    with pytest.raises(UsageProblem, match=r"as 2\.14\.0 and as 2\.13\.0"):
        parse_requests(["torch==2.14.0@vllm", "torch==2.13.0@vllm"], [manifest(), manifest(index=1)])


def test_package_declared_differently_is_found_and_divergent_ones_are_not():
    first = manifest(TEXT)
    second = manifest(TEXT.replace(">=5.10, <6", ">=5.11, <6").replace("<2.14", "<2.15"), 1)
    assert [(finding.code, "trans-formers" in finding.message) for finding in check_manifests([first, second])] == [
        ("D100", True)
    ]


LOCK = "torch==2.13.0 \\\n    --hash=sha256:aa\ntrans-formers==5.19.0 \\\n    --hash=sha256:bb\nvllm==0.32.0 --hash=sha256:cc\n"


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (LOCK, []),
        (None, ["D104"]),
        (LOCK.replace("torch==2.13.0", "torch==2.14.1"), ["D101"]),
        (LOCK.replace("vllm==0.32.0", "vllm==0.33.0"), ["D101"]),
        (LOCK.replace("--hash", "#"), ["D102"]),
        ("--index-url somewhere\n" + LOCK, ["D102"]),
    ],
)
def test_lock_is_checked_against_its_manifest(text, codes):
    assert [finding.code for finding in check_lock(manifest(index=1), text)] == codes


def test_container_file_follows_the_lock(tmp_path):
    path = tmp_path / "docker" / "vllm.Dockerfile"
    path.parent.mkdir()
    path.write_text(
        'FROM vllm/vllm-openai:v0.32.0\nARG TORCH_VERSION=2.13.0\nRUN pip install "transformers==5.0.0" "x==1"\n'
    )
    (edit,) = container_edits(tmp_path, {"vllm": {"vllm": "0.33.0", "torch": "2.14.0", "transformers": "5.19.0"}})
    assert edit.new == (
        'FROM vllm/vllm-openai:v0.33.0\nARG TORCH_VERSION=2.14.0\nRUN pip install "transformers==5.19.0" "x==1"\n'
    )


def test_our_manifests_and_locks_agree():
    assert [str(finding) for finding in check_all(ROOT, read_manifests(ROOT))] == []
