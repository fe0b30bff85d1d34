# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal harness check`: each finding code on a damaged checkout, no finding on a sound one, and `--fix`."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from areal.cli.harness import main
from areal.harness.apiaudit.contract import digest_of, read_contract
from areal.harness.apiaudit.markdown_view import render_entries
from areal.harness.apiaudit.packages import find_package
from areal.harness.check.fix import apply_fixes
from areal.harness.core.tree import Tree
from areal.harness.generate.output import write
from areal.harness.generate.plan import all_generated
from areal.harness.generate.sources import load_sources
from areal.harness.measurements import docs_suite, run_command
from tests.harness.checkouts import ROOT, copy_checkout, findings_of, tiny_checkout

EXPERT = ".agents/experts/archon-expert.md"
SKILL = ".agents/skills/do-it/SKILL.md"


def build(root: Path) -> list[str]:
    return write(root, all_generated(load_sources(Tree(root))), dry_run=False)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tiny_checkout(tmp_path)
    config = root / ".agents" / "harness.yaml"
    kept = [
        line
        for line in config.read_text().splitlines()
        if line.strip() not in ("- checklists/*.yaml", "- README.md", "- docs/**/*.md")
    ]
    config.write_text("\n".join(kept) + "\n")
    build(root)
    monkeypatch.chdir(root)
    return root


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_repository_has_no_findings() -> None:
    assert [str(finding) for finding in findings_of(ROOT)] == []


def test_sound_checkout_has_no_findings(tiny: Path) -> None:
    assert [str(finding) for finding in findings_of(tiny)] == []


def test_each_damaged_copy_of_this_repository_is_named(tmp_path: Path) -> None:
    root = copy_checkout(tmp_path)
    build(root)
    generated = all_generated(load_sources(Tree(root)))
    assert len(generated) > 30
    for item in generated:
        target = root / item.path
        text = target.read_text(encoding="utf-8")
        middle = len(text) // 2
        target.write_text(text[:middle] + "x" + text[middle:], encoding="utf-8")
    found = findings_of(root, "drift")
    assert {finding.file for finding in found} == {item.path.as_posix() for item in generated}
    assert {finding.code for finding in found} == {"H002"}


def damage_source(root: Path) -> None:
    edit(root / EXPERT, "# Archon expert", "# The expert")


def remove_copy(root: Path) -> None:
    (root / ".codex" / "hooks.json").unlink()


def edit_copy(root: Path) -> None:
    edit(root / ".claude" / "agents" / "archon-expert.md", "Read, Grep, Glob", "Read, Grep, Glob, Bash")


def add_stray(root: Path) -> None:
    (root / ".opencode" / "agents" / "stray.md").write_text("x")


def change_docstring(root: Path) -> None:
    edit(root / "areal" / "pkg" / "engine.py", "does it.", "does something else.")


def break_enum(root: Path) -> None:
    edit(root / EXPERT, "access: read", "access: readonly")


def break_yaml(root: Path) -> None:
    edit(root / EXPERT, "access: read", "access: [read")


def unknown_key(root: Path) -> None:
    edit(root / ".agents" / "hooks.yaml", "hooks: []", "hooks: []\nhook: 1")


def rename_expert(root: Path) -> None:
    edit(root / EXPERT, "name: archon-expert", "name: archon")


def rename_skill(root: Path) -> None:
    edit(root / SKILL, "name: do-it", "name: do-this")


def lengthen_skill(root: Path) -> None:
    (root / SKILL).write_text((root / SKILL).read_text() + "more\n" * 130)
    build(root)


def lengthen_description(root: Path) -> None:
    edit(root / SKILL, "description: Does it", "description: Does it " + "again " * 60)
    build(root)


def lengthen_brief(root: Path) -> None:
    brief = root / ".agents" / "brief" / "10-start.md"
    brief.write_text(brief.read_text() + "word " * 4000)
    build(root)


def duplicate_skill(root: Path) -> None:
    shutil.copytree(root / ".agents" / "skills" / "do-it", root / ".claude" / "skills" / "do-it")


def break_cover(root: Path) -> None:
    edit(root / EXPERT, '"areal/cli/**"', '"areal/cli/**", "areal/gone/**"')
    build(root)


def add_package(root: Path) -> None:
    (root / "areal" / "new").mkdir()
    (root / "areal" / "new" / "a.py").write_text("x = 1\n")


def break_path(root: Path) -> None:
    edit(root / SKILL, "See", "See `areal/pkg/motor.py`,")
    build(root)


CASES = [
    (damage_source, "H001", ".codex/agents/archon-expert.toml"),
    (change_docstring, "H001", ".claude/agents/archon-expert.md"),
    (remove_copy, "H001", ".codex/hooks.json"),
    (edit_copy, "H002", ".claude/agents/archon-expert.md"),
    (add_stray, "H002", ".opencode/agents/stray.md"),
    (break_enum, "H010", EXPERT),
    (break_yaml, "H010", EXPERT),
    (unknown_key, "H010", ".agents/hooks.yaml"),
    (rename_expert, "H011", EXPERT),
    (rename_skill, "H011", SKILL),
    (lengthen_skill, "H012", SKILL),
    (lengthen_description, "H012", SKILL),
    (lengthen_brief, "H012", ".agents/brief"),
    (duplicate_skill, "H030", ".claude/skills/do-it/SKILL.md"),
    (break_cover, "H040", EXPERT),
    (add_package, "H040", ".agents/experts"),
    (break_path, "H020", SKILL),
]


@pytest.mark.parametrize(("damage", "code", "file"), CASES, ids=[case[0].__name__ for case in CASES])
def test_damage_is_found_with_its_code_and_file(
    tiny: Path, damage: Callable[[Path], None], code: str, file: str
) -> None:
    damage(tiny)
    found = {(finding.code, finding.file) for finding in findings_of(tiny)}
    assert (code, file) in found, found
    assert all(finding.code == code or finding.code in ("H002", "H020") for finding in findings_of(tiny)), found


def test_generated_file_without_header_counts_as_edited(tiny: Path) -> None:
    (tiny / "CLAUDE.md").write_text("@AGENTS.md\n")
    assert [(finding.code, finding.file) for finding in findings_of(tiny, "drift")] == [("H002", "CLAUDE.md")]


def test_file_without_domain_or_scope_is_named(tiny: Path) -> None:
    domain = "{domain: pkg, severity: low, expert: archon-expert, signals: [{id: a, paths: [areal/pkg/**], weight: 1}]}"
    (tiny / ".agents" / "domains.yaml").write_text(f"domains: [{domain}]\n")
    (tiny / ".agents" / "schemas" / "domains.schema.json").unlink()  # its form is the review's business
    found = [finding.message for finding in findings_of(tiny) if finding.code == "H041"]
    assert found == [f"areal/{name} has no review domain" for name in ("__init__.py", "cli/main.py", "cli/run.py")]


def test_fix_replaces_what_leaves_no_choice_and_rebuilds(tiny: Path) -> None:
    edit(tiny / EXPERT, "# Archon expert", "# Archon expert `areal/pkg/engin.py` `areal runn` `areal.pkg.Engine`")
    found = findings_of(tiny)
    assert {finding.code for finding in found} == {"H001", "H020", "H021", "H022"}
    done = apply_fixes(tiny, found)
    assert any("areal/pkg/engin.py -> areal/pkg/engine.py" in line for line in done)
    assert findings_of(tiny) == []
    assert "`areal/pkg/engine.py` `areal run` `areal.pkg.engine.Engine`" in (tiny / EXPERT).read_text()


def test_fix_keeps_what_was_edited_by_hand(tiny: Path) -> None:
    edit_copy(tiny)
    damage_source(tiny)
    apply_fixes(tiny, findings_of(tiny))
    assert [finding.code for finding in findings_of(tiny)] == ["H002"]
    assert "Bash" in (tiny / ".claude" / "agents" / "archon-expert.md").read_text()


def test_check_prints_the_envelope_and_exits_with_one(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    break_path(tiny)
    assert main(["check", "--json"]) == 1
    envelope = json.loads(capsys.readouterr().out)
    assert (envelope["tool"], envelope["ok"], envelope["exit"]) == ("areal harness check", False, 1)
    assert envelope["findings"][0]["code"] == "H020"
    assert envelope["next"][-1] == "areal harness check"
    assert main(["check", "--json", "--only", "schema"]) == 0


def test_build_says_what_it_changes(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage_source(tiny)
    assert main(["build", "--dry-run", "--json"]) == 0
    changed = json.loads(capsys.readouterr().out)["changed"]
    assert main(["build", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] == changed != []
    assert main(["build", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["check", "--only", "everything"], 2), (["build", "--platform", "emacs"], 4), (["doctor", "--cli", "emacs"], 2)],
)
def test_wrong_usage_has_its_exit_code(
    tiny: Path, arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json"]) == code
    assert json.loads(capsys.readouterr().out)["error"]["message"]


def test_broken_source_stops_the_build_and_changes_nothing(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_yaml(tiny)
    before = {path: path.read_bytes() for path in tiny.rglob("*") if path.is_file()}
    assert main(["build"]) == 2
    assert f"{EXPERT}:" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tiny.rglob("*") if path.is_file()} == before


def test_broken_manifest_is_wrong_usage(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny / "pyproject.toml").write_text("x [")
    brief = tiny / ".agents/brief/10-start.md"
    brief.write_text(brief.read_text() + "\nRun `pip install '.[dev]'`.\n")
    assert main(["check"]) == 2
    assert "pyproject.toml is not valid TOML" in capsys.readouterr().err


def test_outside_of_a_checkout_is_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check"]) == 2


def test_hooks_import_nothing_that_their_environments_lack() -> None:
    """The environments are made by pre-commit of `additional_dependencies` alone."""
    absent = ["torch", "transformers", "git", "griffe", "tomlkit", "markdown_it"]
    modules = ["check.run", "docs.sync", "commits.message", "commits.staged"]
    code = f"import sys; sys.modules.update(dict.fromkeys({absent}))\n"
    code += "\n".join(f"import areal.harness.{module}" for module in modules)
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_check_runs_without_torch_and_without_git() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'git', 'griffe']))\n"
        "from areal.cli.harness import main; main(['check', '--json'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["stats"]["refs"] > 500


def test_doctor_without_programs_is_missing_not_healthy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["doctor", "--json", "--cli", "claude,codex,opencode,standard"]) == 3
    envelope = json.loads(capsys.readouterr().out)
    assert [finding["code"] for finding in envelope["findings"]] == ["H051"] * 4
    assert not envelope["ok"]


def test_doctor_reports_a_program_that_does_something_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--cli", "standard", "--program", "standard=/bin/false"]) in (0, 1)
    assert main(["doctor", "--json", "--cli", "claude", "--program", "claude=/bin/true"]) == 1


def test_eval_writes_metrics_and_keeps_those_of_other_suites(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tiny / "eval.json"
    out.write_text(json.dumps({"metrics": {"elsewhere": {"a": 1}}}))
    assert main(["eval", "--suite", "refs,drift,coverage", "--out", str(out), "--json"]) == 0
    metrics = json.loads(out.read_text())["metrics"]
    assert metrics["elsewhere"] == {"a": 1}
    assert metrics["drift"]["drift"] == 0
    assert metrics["drift"]["seeded_hand_edits_found"] == metrics["drift"]["seeded_hand_edits"] > 5
    assert metrics["refs"]["dead"] == 0


def test_damaged_contract_is_named(tmp_path: Path) -> None:
    root = copy_checkout(tmp_path)
    build(root)
    contracts = sorted((root / "checklists").glob("*.yaml"))
    assert len(contracts) >= 11
    used = [path for path in contracts if "- symbol: " in path.read_text()]
    damaged = {}
    for path in used:
        text = path.read_text()
        at = text.rindex('- symbol: "') + len('- symbol: "')
        end = text.index('"', at)
        damaged[path.name] = f"{text[at:end]}x"
        path.write_text(f"{text[:end]}x{text[end:]}")
    view = next(path for path in contracts if path not in used).with_suffix(".md")
    view.write_text(view.read_text() + "more\n")
    found = [finding for finding in findings_of(root, "drift") if "checklists" in finding.file]
    for name, symbol in damaged.items():
        told = [finding for finding in found if finding.file == f"checklists/{name}"]
        assert "H002" in {finding.code for finding in told}
        assert all(symbol in finding.message for finding in told), (symbol, [str(finding) for finding in told])
    assert f"checklists/{view.name}" in {finding.file for finding in found if finding.code == "H001"}


def test_symbol_that_no_site_mentions_is_named_although_digest_and_view_agree(tmp_path: Path) -> None:
    root = copy_checkout(tmp_path)
    build(root)
    package = find_package("datasets")
    path = root / "checklists" / "datasets.yaml"
    before = read_contract(root, package)
    path.write_text(path.read_text().replace("datasets.load_from_disk", "datasets.load_from_disc"))
    path.write_text(path.read_text().replace(before.digest, digest_of(read_contract(root, package).symbols)))
    after = read_contract(root, package)
    path.with_suffix(".md").write_text(render_entries(after, after.symbols))
    messages = [finding.message for finding in findings_of(root, "drift") if finding.file == "checklists/datasets.yaml"]
    assert messages and all("load_from_disc" in message for message in messages)


def test_dead_site_of_a_contract_is_mended_by_writing_the_contract_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy_checkout(tmp_path)
    build(root)
    path = root / "checklists" / "datasets.yaml"
    path.write_text(re.sub(r"(\.py#[A-Za-z_]+)", r"\1_renamed", path.read_text(), count=1))
    dead = [finding for finding in findings_of(root, "refs") if finding.file == "checklists/datasets.yaml"]
    assert {finding.code for finding in dead} == {"H021"}
    assert all(finding.fix and finding.fix.command == "areal api discover datasets" for finding in dead)
    monkeypatch.chdir(root)
    assert main(["check", "--only", "refs", "--json"]) == 1
    advice = json.loads(capsys.readouterr().out)["next"]
    assert advice == ["areal api discover datasets", "areal harness check --only refs"]


def test_pages_and_commands_are_measured() -> None:
    pages = docs_suite(Tree(ROOT))
    assert pages.pop("errors") == 0
    assert pages["current"] > 5
    assert sum(pages.values()) == 2 * pages["pages"]  # each page has one status
    run = run_command(ROOT, "no-such-command")
    assert run.code == 2
    assert run.cpu_s > 0 and 0 < run.wall_s < 60
