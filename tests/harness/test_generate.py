# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""From sources to what the platforms read: golden texts, reading them back, and any expert whatsoever."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from areal.harness.check.schema import check_outputs
from areal.harness.core.errors import DecisionNeeded, UsageProblem
from areal.harness.core.tree import Tree
from areal.harness.generate.output import Generated, read_stamp, write
from areal.harness.generate.plan import all_generated
from areal.harness.generate.sources import HOOKS_FILE, Expert, Sources, load_sources
from areal.harness.generate.tables import expand
from areal.harness.platforms import EXPERT_FILES, PLATFORMS, READERS
from areal.harness.platforms.codex import toml_text
from areal.harness.platforms.common import Bodies
from tests.harness.checkouts import ROOT, tiny_checkout

BODY = """\
# Archon expert

- `areal/pkg/` A package
  - `engine.py` The engine: does it
"""
DESCRIPTION = "Archon engine and MoE parallelism. Use when code under pkg changes, or for EP questions."
GOLDEN = {
    ".claude/agents/archon-expert.md": f"""\
---
# HEADER
name: archon-expert
description: {DESCRIPTION}
tools: Read, Grep, Glob
model: inherit
effort: high
---
{BODY}""",
    ".codex/agents/archon-expert.toml": f"""\
# HEADER
name = "archon-expert"
description = "{DESCRIPTION}"
model_reasoning_effort = "high"
sandbox_mode = "read-only"
developer_instructions = '''
{BODY}'''
""",
    ".opencode/agents/archon-expert.md": f"""\
---
# HEADER
description: {DESCRIPTION}
mode: subagent
temperature: 0.1
permission:
  "*": deny
  read: allow
  glob: allow
  grep: allow
  list: allow
  edit: deny
  bash: deny
  webfetch: deny
---
{BODY}""",
    ".claude/rules/pkg.md": """\
---
# HEADER
paths:
  - "areal/pkg/**"
---
# The package

- Be kind to `Engine`.
""",
    ".claude/commands/do-it.md": """\
---
# HEADER
description: Does it when it has to be done, by one command that is named below.
---
# Do it

See [more](.agents/skills/do-it/more.md).

Files named without a folder are in `.agents/skills/do-it/`. What the user asked for: $ARGUMENTS
""",
    "CLAUDE.md": "<!-- HEADER -->\n\n@AGENTS.md\n",
    "AGENTS.md": f"""\
<!-- HEADER -->

# Tiny

| expert | access | use it |
| --- | --- | --- |
| `archon-expert` | reads only | {DESCRIPTION} |

| skill | use it |
| --- | --- |
| `do-it` | Does it when it has to be done, by one command that is named below. |

### The package

Applies to `areal/pkg/**`.

- Be kind to `Engine`.

- `areal/pkg/` A package
""",
}
HEADER = re.compile(r"GENERATED from \S+ source:\w{12} text:\w{12}; edit the source, then run: areal harness build")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return tiny_checkout(tmp_path)


def generated_of(root: Path) -> dict[str, Generated]:
    return {item.path.as_posix(): item for item in all_generated(load_sources(Tree(root)))}


@pytest.mark.parametrize("path", GOLDEN)
def test_generated_text_is_the_golden_one(tiny: Path, path: str) -> None:
    assert HEADER.sub("HEADER", generated_of(tiny)[path].text) == GOLDEN[path]


def test_every_generated_file_names_its_source_and_is_untouched(tiny: Path) -> None:
    for path, item in generated_of(tiny).items():
        stamp = read_stamp(item.text)
        assert stamp is not None and stamp.untouched, path
        assert (tiny / stamp.source).exists(), path


def test_building_twice_changes_nothing(tiny: Path) -> None:
    first = write(tiny, all_generated(load_sources(Tree(tiny))), dry_run=False)
    assert len(first) == len(set(first)) > 6
    assert write(tiny, all_generated(load_sources(Tree(tiny))), dry_run=False) == []


def test_dry_run_writes_nothing(tiny: Path) -> None:
    before = sorted(tiny.rglob("*"))
    assert write(tiny, all_generated(load_sources(Tree(tiny))), dry_run=True)
    assert sorted(tiny.rglob("*")) == before


def test_one_platform_gets_its_files_and_the_brief(tiny: Path) -> None:
    paths = {item.path.as_posix() for item in all_generated(load_sources(Tree(tiny)), "codex")}
    assert paths == {"AGENTS.md", ".codex/agents/archon-expert.toml", ".codex/hooks.json"}
    with pytest.raises(DecisionNeeded):
        all_generated(load_sources(Tree(tiny)), "emacs")


def test_link_in_place_of_a_generated_file_is_refused(tiny: Path) -> None:
    (tiny / "AGENTS.md").symlink_to("pyproject.toml")
    with pytest.raises(UsageProblem, match="symbolic link"):
        write(tiny, all_generated(load_sources(Tree(tiny))), dry_run=False)


def test_unknown_table_is_refused_with_its_line(tiny: Path) -> None:
    sources = load_sources(Tree(tiny))
    with pytest.raises(UsageProblem, match="line 2"):
        expand("one\n{{ everything }}\n", Path("x.md"), sources)


def test_ref_is_filled_in_or_refused(tiny: Path) -> None:
    sources = load_sources(Tree(tiny))
    text = expand('{{ ref("areal/pkg/engine.py", "Engine.step") }}', Path("x.md"), sources)
    assert text == "`Engine.step` in `areal/pkg/engine.py`"
    with pytest.raises(UsageProblem, match=r"defines no Engine\.stop"):
        expand('{{ ref("areal/pkg/engine.py", "Engine.stop") }}', Path("x.md"), sources)


@pytest.mark.parametrize(
    "body",
    ["with ''' inside\n", "ends without newline", "back\\slash \\n\n", "ünïcödé ✓ 😀\n", "ends with '", 'has """\n'],
)
def test_awkward_bodies_survive_toml(body: str) -> None:
    import tomllib

    assert tomllib.loads(f"x = {toml_text(body)}")["x"] == body


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / ".agents" / "experts").glob("*.md")))
def test_real_experts_read_back_alike_from_every_platform(platform: str, name: str) -> None:
    source = next(expert for expert in load_sources(Tree(ROOT)).experts if expert.name == name)
    text = (ROOT / EXPERT_FILES[platform].format(name=name)).read_text(encoding="utf-8")
    read = READERS[platform](text, name)
    assert (read.name, read.description, read.access) == (source.name, source.description, source.access)
    assert read.body.startswith(source.body.split("{{")[0].replace("`{.example}", "`"))


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=300)
LINES = st.lists(st.sampled_from(["---", "'''", '"""', "@HEADER@x", "a: b", "# c", "\\", "{}", "😀 ü", ""]), max_size=8)
EXPERTS = st.builds(
    Expert,
    name=st.from_regex(r"[a-z0-9]{1,20}(-[a-z0-9]{1,20}){0,2}", fullmatch=True),
    description=st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\x00"), min_size=1, max_size=1024
    ).filter(lambda text: bool(text.strip())),
    access=st.sampled_from(["read", "verify", "write"]),
    effort=st.sampled_from(["low", "med", "high"]),
    body=st.one_of(ANY_TEXT, LINES.map("\n".join)).filter(lambda text: bool(text.strip())),
    source=st.just(Path("x.md")),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(expert=EXPERTS)
def test_any_expert_is_valid_for_every_platform_and_reads_back(expert: Expert) -> None:
    sources = Sources(Tree(ROOT), {}, (expert,), (), (), (), ())
    shas = {Path("x.md"): "0" * 12, HOOKS_FILE: "0" * 12}
    bodies = Bodies(experts={expert.name: expert.body}, rules={}, skills={}, shas=shas)
    for platform, render in PLATFORMS.items():
        items = render(sources, bodies)
        assert list(check_outputs(ROOT, items)) == [], platform
        stamp = read_stamp(items[0].text)
        assert stamp is not None and stamp.untouched
        read = READERS[platform](items[0].text, expert.name)
        assert (read.name, read.description, read.access) == (expert.name, expert.description, expert.access), platform
        assert read.body == expert.body, platform
