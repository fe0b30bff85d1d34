# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The documentation: each kind of drift found and untouched pages silent, links, the site, and that what pages say is true."""

import asyncio
import json
import re
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from areal.api.cli_args import GenerationHyperparameters
from areal.api.io_struct import ModelRequest, ModelResponse
from areal.cli import docs as command
from areal.cli.main import COMMANDS
from areal.dataset.small_tokenizer import build_arithmetic_tokenizer
from areal.harness.docs.links import check_links, linked_pages
from areal.harness.docs.pages import Page, slug
from areal.harness.docs.site import build, check_site, load_pages, unlisted
from areal.harness.docs.sync import accept, compare, compare_all
from areal.infra.generation import new_token_budget
from areal.utils.data import check_trajectory_format
from tests.fakes import FakeEngine
from tests.harness.git_tree import ROOT, git, make_tree, write

EN = """# Page

Text with `code` and [a link](other.md).

```math
\\text{loss} = \\frac{1}{2}
```

## Numbers

Inline $\\text{a}_1 + b$ and $$\\sum_i x_i$$.

| a | b |
| --- | --- |
| 1 | 2 |

```python
x = 1  # one
```

- first
- second

This sentence is long enough to be prose that somebody has to translate.
"""
ZH = EN.replace("# Page", "# 页").replace("Text with", "文字").replace("## Numbers", "## 数").replace("a link", "链接")
ZH = ZH.replace("- first\n- second", "- 一\n- 二").replace(EN.strip().split("\n")[-1], "这一句很长，必须有人翻译。")
OTHER = "# Other\n"
PAGES = {"docs/en/page.md": EN, "docs/zh/page.md": ZH, "docs/en/other.md": OTHER}
Mutation = Callable[[str], str]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write(tmp_path, {**PAGES, "pyproject.toml": "", ".agents/x": ""})
    accept(tmp_path, ["page.md"])
    return tmp_path


def codes(root: Path) -> set[str]:
    return {finding.code for finding in compare(root, "page.md")}


def test_untouched_pages_are_silent(tree: Path) -> None:
    assert codes(tree) == set()
    assert accept(tree, ["page.md"]) == []


DAMAGE: dict[str, tuple[str, Mutation]] = {
    "heading_dropped": ("D003", lambda text: text.replace("## 数\n", "")),
    "heading_level": ("D003", lambda text: text.replace("## 数", "### 数")),
    "heading_added": ("D003", lambda text: text + "\n## 新\n"),
    "code_changed": ("D004", lambda text: text.replace("x = 1", "x = 2")),
    "code_comment": ("D004", lambda text: text.replace("# one", "# 一")),
    "code_language": ("D004", lambda text: text.replace("```python", "```text")),
    "code_dropped": ("D003", lambda text: re.sub(r"```python.*?```\n", "", text, flags=re.DOTALL)),
    "inline_code": ("D004", lambda text: text.replace("`code`", "`cod`")),
    "math_doubled_backslash": ("D004", lambda text: text.replace("$\\text{a}", "$\\\\text{a}")),
    "math_in_display": ("D004", lambda text: text.replace("$$\\sum_i x_i$$", "$$\\sum\\_i x_i$$")),
    "math_in_fence": ("D004", lambda text: text.replace("\\frac{1}{2}", "\\frac{1}{3}")),
    "math_dropped": ("D004", lambda text: text.replace("$\\text{a}_1 + b$", "a")),
    "link_changed": ("D003", lambda text: text.replace("(other.md)", "(page.md)")),
    "link_dropped": ("D003", lambda text: text.replace("[链接](other.md)", "链接")),
    "table_column": ("D003", lambda text: text.replace("| a | b |\n| --- | --- |\n| 1 | 2 |", "| a |\n| --- |\n| 1 |")),
    "table_row": ("D003", lambda text: text.replace("| 1 | 2 |\n", "")),
    "table_header": ("D003", lambda text: text.replace("| a | b |", "| a | b | c |")),
    "list_item_dropped": ("D003", lambda text: text.replace("- 二\n", "")),
    "left_in_english": ("D007", lambda text: text.replace("这一句很长，必须有人翻译。", EN.strip().split("\n")[-1])),
    "stamp_dropped": ("D002", lambda text: text[text.index("# 页") :]),
    "stamp_wrong": ("D002", lambda text: re.sub(r"en=....", "en=0000", text)),
}


@pytest.mark.parametrize(("code", "damage"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_of_a_translation_is_found(code: str, damage: Mutation, tree: Path) -> None:
    path = tree / "docs/zh/page.md"
    text = path.read_text()
    path.write_text(damage(text))

    assert path.read_text() != text
    assert codes(tree) == {code}


@pytest.mark.parametrize(
    "harmless",
    [
        lambda text: text.replace("文字", "另一段文字"),
        lambda text: text.replace("(other.md)", "(../en/other.md)"),
        lambda text: text.replace("# 页", "# 页面", 1),
    ],
)
def test_other_words_are_no_damage(harmless: Mutation, tree: Path) -> None:
    path = tree / "docs/zh/page.md"
    path.write_text(harmless(path.read_text()))

    assert codes(tree) == set()


def test_changed_original_makes_the_translation_stale_and_says_what_changed(tmp_path: Path) -> None:
    root = make_tree(tmp_path, PAGES)
    accept(root, ["page.md"])
    write(root, {"docs/en/page.md": EN + "\n## Added\n"})

    findings = {finding.code: finding.message for finding in compare(root, "page.md")}

    assert "headings added: Added" in findings["D002"]
    assert git(root, "status", "--porcelain").splitlines()  # only what the test changed
    accept(root, ["docs/zh/page.md"])
    assert codes(root) == {"D003"}  # accepting does not hide that the heading is missing


def test_missing_translation_is_a_note_and_a_lost_original_an_error(tree: Path) -> None:
    write(tree, {"docs/zh/alone.md": "# 一\n", "docs/en/quickstart.md": "# Quickstart\n"})

    statuses, findings = compare_all(tree)

    severities = {finding.file: finding.severity for finding in findings}
    assert severities == {"docs/zh/alone.md": "error", "docs/en/other.md": "note", "docs/en/quickstart.md": "error"}
    assert {status.page: status.status for status in statuses}["page.md"] == "current"


def test_generated_page_is_not_missing_and_a_translation_of_it_is_unwanted(tree: Path) -> None:
    write(tree, {"docs/en/made.md": "<!-- Generated by a script: do not edit. -->\n\n# Made\n"})

    statuses, findings = compare_all(tree)

    assert {status.page: status.status for status in statuses}["made.md"] == "generated"
    assert [finding.file for finding in findings] == ["docs/en/other.md"]
    write(tree, {"docs/zh/made.md": "# 生成\n"})
    assert [finding.code for finding in compare(tree, "made.md")] == ["D008"]
    assert {status.page: status.status for status in compare_all(tree)[0]}["made.md"] == "unwanted"
    with pytest.raises(Exception, match=r"made\.md"):
        accept(tree, ["made.md"])


def test_sync_command_exits_with_one_only_when_checking(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tree, {"docs/zh/page.md": ZH})
    monkeypatch.chdir(tree)

    assert command.main(["sync", "--json"]) == 0
    capsys.readouterr()
    assert command.main(["sync", "--check", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["fix"]["command"] == "areal docs sync --accept page.md"
    assert command.main(["sync", "--accept", "page.md", "--json"]) == 0
    assert command.main(["sync", "--check", "--json"]) == 0
    capsys.readouterr()
    assert command.main(["sync", "--accept", "nowhere.md", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["error"]["choices"] == ["page.md"]


def test_dead_links_and_anchors_are_found_in_prose_only(tmp_path: Path) -> None:
    text = "# A b\n\n[1](b.md) [2](gone.md) [3](#a-b) [4](#gone) [5](b.md#c) [6](https://x.example/) `[7](no.md)`\n\n```\n[8](no.md)\n```\n"
    write(tmp_path, {"docs/a.md": text, "docs/b.md": "# B\n"})

    found = [finding.message.split(" ")[0].rstrip(":") for finding in check_links(tmp_path, ["docs/a.md"])]

    assert found == ["gone.md", "#gone", "b.md#c"]


def test_anchors_are_those_of_github() -> None:
    page = Page("# `areal x` & More: a_b\n\n## Same\n\n## Same\n\n## 中文 标题\n")

    assert page.anchors == {"areal-x--more-a_b", "same", "same-1", "中文-标题"}
    assert slug("[Link](x.md) text") == "link-text"


def test_site_is_built_whole_and_only_into_its_own_folder(tmp_path: Path) -> None:
    out = tmp_path / "site"

    written = build(ROOT, out)

    assert [str(finding) for finding in check_site(out)] == []
    assert {"index.html", "style.css", "en/quickstart.html", "zh/quickstart.html"} <= set(written)
    text = (out / "en/quickstart.html").read_text()
    assert 'href="../en/architecture.html"' in text
    translated = (out / "zh/quickstart.html").read_text()
    assert "sync: en=" not in translated
    assert 'href="../en/cli_reference.html"' in translated and "参考" in translated and "Reference" not in translated
    assert build(ROOT, out) == written
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("keep")
    with pytest.raises(Exception, match="not a built site"):
        build(ROOT, tmp_path / "mine")
    assert (tmp_path / "mine" / "file").read_text() == "keep"


def test_dead_link_in_the_site_is_found(tmp_path: Path) -> None:
    write(tmp_path, {"a.html": '<a href="b.html">b</a><a href="#x">x</a><a href="#y">y</a><p id="x"></p>'})

    assert [finding.message.split()[0] for finding in check_site(tmp_path)] == ["b.html", "#y"]


# What follows is about the pages of this repository.


def test_pages_of_the_repository_are_current_linked_and_listed() -> None:
    statuses, findings = compare_all(ROOT)

    assert [str(finding) for finding in findings if finding.severity == "error"] == []
    assert {"quickstart.md", "harness.md"} <= {status.page for status in statuses if status.status == "current"}
    assert [status.page for status in statuses if status.status == "generated"] == ["cli_reference.md"]
    assert [str(finding) for finding in check_links(ROOT, linked_pages(ROOT))] == []
    assert [str(finding) for finding in unlisted(ROOT, load_pages(ROOT))] == []


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs/generate_cli_docs.py"))


def test_cli_reference_is_what_the_parsers_and_classes_say(generator: dict[str, Any]) -> None:
    assert generator["page"]() == generator["PAGE"].read_text(), "run: python docs/generate_cli_docs.py"


def _blocks(language: str) -> list[tuple[str, str]]:
    pages = sorted((ROOT / "docs/en").rglob("*.md"))
    blocks = [(path, block.text.split("\n", 1)) for path in pages for block in Page(path.read_text()).code_blocks]
    return [(path.name, parts[1]) for path, parts in blocks if parts[0] == language and len(parts) == 2]


@pytest.mark.parametrize(("page", "code"), _blocks("python"), ids=lambda value: value if value.endswith(".md") else "")
def test_python_of_the_pages_runs(page: str, code: str) -> None:
    assert "areal" in code or "def " in code
    exec(compile(code, page, "exec"), {"__name__": "page"})


def test_workflow_of_the_page_runs_an_episode_of_a_config_that_forms_groups(tmp_path: Path) -> None:
    (code,) = (code for page, code in _blocks("python") if page == "workflow.md")
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, "workflow.md", "exec"), names)
    build_arithmetic_tokenizer(tmp_path)
    requests: list[ModelRequest] = []

    class Answering(FakeEngine):
        async def agenerate(self, req: ModelRequest) -> ModelResponse:
            new_token_budget(req)  # what a real engine refuses
            requests.append(req)
            return await FakeEngine(num_tokens=4 - len(requests)).agenerate(req)

    workflow = names["ShortestOfTwo"](GenerationHyperparameters(n_samples=4), str(tmp_path))
    trajectory = asyncio.run(workflow.arun_episode(Answering(), {"messages": [{"role": "user", "content": "1+1?"}]}))

    check_trajectory_format(trajectory)
    assert int(trajectory["loss_mask"].sum()) == 2 and trajectory["rewards"].tolist() == [pytest.approx(1 / 3)]
    assert all(request.gconfig.stop_token_ids for request in requests)


def test_commands_of_the_pages_have_parsers_that_take_them(generator: dict[str, Any]) -> None:
    lines = {line for _, block in _blocks("bash") for line in block.splitlines() if line.startswith("areal ")}
    refused = []
    for line in sorted(lines):
        name, *words = shlex.split(line, comments=True)[1:]
        if name not in COMMANDS:
            refused.append(line)
            continue
        try:
            generator["parser_of"](COMMANDS[name].module).parse_known_args(words)
        except SystemExit as ended:
            if ended.code:
                refused.append(line)
    assert refused == []
    assert len(lines) > 15
