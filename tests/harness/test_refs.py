# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""References in texts: what is found, what is left alone, and that no broken reference of our own sources goes unseen."""

import re
from pathlib import Path

import pytest

from areal.harness.core.tree import Tree
from areal.harness.generate.sources import load_config
from areal.harness.refs.facts import Facts
from areal.harness.refs.names import DOTTED, IDENTIFIER
from areal.harness.refs.paths import as_path
from areal.harness.refs.scan import facts_of, scan, scan_text, scanned_files
from areal.harness.refs.symbols import SymbolIndex
from areal.harness.refs.texts import Mention, mentions
from tests.harness.checkouts import ROOT


@pytest.fixture(scope="module")
def facts() -> Facts:
    return facts_of(Tree(ROOT), load_config(ROOT))


DEAD = [
    ("`areal/engine/fsdp_motor.py`", "H020", "areal/engine/fsdp_motor.py"),
    ("`areel/engine/fsdp_engine.py`", "H020", "areel/engine"),
    ("see `areal/scheduler/`", "H020", "areal/scheduler/"),
    ("`areal/engine/*.yaml`", "H020", "matches no file"),
    ("`no_such_file.py`", "H020", "no_such_file.py"),
    ("[guide](docs/nowhere.md)", "H020", "docs/nowhere.md"),
    ("[guide](../../README.md#no-such-heading)", "H020", "no heading"),
    ("`areal/engine/fsdp_engine.py:FSDPMotor`", "H021", "FSDPMotor"),
    ("`tests/distributed.py::run_rank`", "H021", "run_rank"),
    ("`areal.reward.AsyncRewardWrapper`", "H021", "areal.api.reward_api"),
    ("`areal.engine.fsdp`", "H021", "areal.engine.fsdp"),
    ("`areal.engine.fsdp_engine.FSDPEngine.no_method`", "H021", "no_method"),
    ("`FSDPEngine.no_method`", "H021", "no_method"),
    ("`FSDPMotor`", "H021", "FSDPMotor"),
    ("`choose_attentoin`", "H021", "choose_attention"),
    ("`no_such_function()`", "H021", "no_such_function"),
    ("`actor.no_such_key=1`", "H021", "no_such_key"),
    ("`AREAL_NO_SUCH_VARIABLE`", "H021", "AREAL_NO_SUCH_VARIABLE"),
    ("`areal hraness check`", "H022", "harness"),
    ("`areal harness chekc`", "H022", "check"),
    ("`areal harness check --jsno`", "H022", "--json"),
    ("`areal harness build --only refs`", "H022", "--only"),
    ("`areal skill rnu add-reward`", "H022", "run"),
    ("`areal skill run add-nothing`", "H023", "add-reward"),
    ("`areal doctor distribted`", "H022", "distributed"),
    ("`areal skill run add-reward --set colour=x`", "H022", "tolerance"),
    ("`areal api audit transfomers==5.0`", "H022", "transformers"),
    ("`python docs/generate_cli_docs.py --chekc`", "H022", "--check"),
    ("`make tset`", "H022", "test"),
    ("`pytest -m 'slow and gup'`", "H022", "gup"),
    ("`@pytest.mark.slwo`", "H022", "slwo"),
    ("`pip install -e '.[experimental]'`", "H022", "experimental"),
    ("`uv sync --extra experimental`", "H022", "experimental"),
    ("`areal[cuda]`", "H022", "cuda"),
    ("`pre-commit run harnes-check`", "H022", "harness-check"),
    ("ask the `fspd` expert", "H023", "fsdp"),
    ("the skill `add-nothing` does it", "H023", "add-nothing"),
    ("as in line 195", "H024", "line 195"),
    ("at `x` in README.md:12", "H024", ".md:12"),
    ("```bash\nareal harness chekc  # comment\n```", "H022", "chekc"),
    ("```bash\nmake test && make lnit\n```", "H022", "lnit"),
    ("```bash\npytest -q \\\n  tests/no_such_folder/test_x.py\n```", "H020", "tests/no_such_folder"),
    ("```bash\nOMP_NUM_THREADS=1 .venv/bin/areal harness chekc\n```", "H022", "chekc"),
    ("```bash\npython -m areal.no_such_module\n```", "H021", "areal.no_such_module"),
    ("```python\nfrom areal.reward import AsyncRewardWrapper\n```", "H021", "AsyncRewardWrapper"),
]
ALIVE = [
    "`areal plan FILE --tokens 4096`",
    "`areal plan examples/arithmetic/grpo.yaml --json`",
    "`areal skill run add-reward --set name=NAME --set kind=exact`",
    "`python examples/arithmetic/train.py --config examples/arithmetic/grpo.yaml actor.optimizer.lr=1`",
    "`areal/engine/fsdp_engine.py`, `areal/engine/`, `areal/engine/*.py`, `pyproject.toml` and `fsdp_engine.py`",
    "`areal/<package>/<name>.py`, `areal/{name}.py`, `path/to/file.py`, `$HOME/x.py`, `areal/...`",
    "`areal/engine/no_such.py`{.example} is an illustration",
    "`runs/logs/x/report.html` and `https://example.org/a/b.py`",
    "`tokens/s`, `read/write`, `Qwen/Qwen3-0.6B`, `a/b`, `1/2`",
    "`areal.engine.fsdp_engine.FSDPEngine`, `FSDPEngine`, `areal.api.TrainEngine`, `areal.PPOTrainer`",
    "`CoreTrainEngine.train_batch`, `FSDPEngine.train_batch` is inherited",
    "`areal/engine/fsdp_engine.py:FSDPEngine`",
    "`pytest`, `bash`, `x`, `True`, `loss`, `bfloat16`",
    "`areal COMMAND --help`, `areal harness check --json --only refs`, `areal train`, `.venv/bin/areal version`",
    "`areal skill run add-reward --set name=x`, `areal skill list --json`, `areal archon new NAME`",
    "`make test ARGS=...`, `make -j2 lint`",
    "`pytest -m 'slow and not gpu' -x`, `@pytest.mark.parametrize`, `pytest.mark.slow`",
    "`pip install -e '.[dev]'`, `areal[harness]`",
    "`pre-commit run --all-files`, `pre-commit run ruff-check`",
    "the `fsdp` expert and the experts `archon`",
    "[text](https://example.org) and [map](#some-anchor-elsewhere) in a rule of 80 lines",
    "```text\nareal nothing\n```",
    "```bash example\nareal nothing\n```",
    "```bash\npython examples/math/gsm8k_rl.py --config examples/math/gsm8k_grpo.yaml actor.path=runs/tiny\n```",
    "```python\nfrom areal.api import TrainEngine\nimport torch.nothing\n```",
]


@pytest.mark.parametrize(("text", "code", "named"), DEAD, ids=[text[:50] for text, _, _ in DEAD])
def test_dead_reference_is_found_and_named(facts: Facts, text: str, code: str, named: str) -> None:
    found, _ = scan_text(".agents/rules/x.md", f"intro\n\n{text}\n", facts)
    assert [finding.code for finding in found] == [code], found
    assert named in found[0].message + str(found[0].fix)
    assert found[0].line >= 3


@pytest.mark.parametrize("text", ALIVE, ids=[text[:50] for text in ALIVE])
def test_living_reference_is_silent(facts: Facts, text: str) -> None:
    text = text.replace("[map](#some-anchor-elsewhere) in", "[map](#intro) in")
    found, count = scan_text(".agents/rules/x.md", f"# intro\n\n{text}\n", facts)
    assert found == []
    assert count > 0 or "text" in text or "example" in text


def test_repository_names_nothing_that_does_not_exist(facts: Facts) -> None:
    result = scan(Tree(ROOT), load_config(ROOT), facts)
    assert result.findings == []
    assert result.num_refs > 500


def test_yaml_values_are_checked_with_their_line(facts: Facts) -> None:
    text = "a: areal/engine/fsdp_engine.py\nb:\n  - areal/engine/gone.py\nexpert: fspd\nrun: areal harness chekc\n"
    found, _ = scan_text(".agents/x.yaml", text, facts)
    assert [(finding.code, finding.line) for finding in found] == [("H020", 3), ("H023", 4), ("H022", 5)]


def our_texts(facts: Facts) -> list[tuple[str, str]]:
    names = scanned_files(facts.tree, load_config(ROOT))
    return [(name, facts.tree.text(name)) for name in names if name.startswith((".agents/", "README"))]


def damaged(name: str, text: str, mention: Mention, token: str, replacement: str) -> str | None:
    """The text with one mention replaced; of a Markdown text only that line, which is quicker to scan."""
    lines = text.split("\n")
    word = re.compile(rf"(?<![\w./-]){re.escape(token)}(?![\w/-]|\.\w)")
    lines[mention.line - 1], count = word.subn(lambda match: replacement, lines[mention.line - 1], count=1)
    if mention.kind == "code" and name.endswith(".md"):
        lines = [line if number == mention.line else "" for number, line in enumerate(lines, 1)]
    return "\n".join(lines) if count else None


def test_every_damaged_path_of_our_sources_is_found(facts: Facts) -> None:
    missed, total = [], 0
    for name, text in our_texts(facts):
        for mention in mentions(name, text):
            path = as_path(mention.text, facts) if mention.kind in ("code", "value") else ""
            if not path or "*" in path or "{" in path:
                continue
            stem, dot, suffix = path.rstrip("/").rpartition(".")
            broken = f"{stem}q.{suffix}" if dot and stem else path.rstrip("/") + "q"
            changed = damaged(name, text, mention, path, broken + ("/" if path.endswith("/") else ""))
            if changed is None:
                continue
            total += 1
            found, _ = scan_text(name, changed, facts)
            if not any(broken in finding.message and finding.line == mention.line for finding in found):
                missed.append((name, mention.line, broken))
    assert missed == []
    assert total > 100


def test_damaged_site_of_a_contract_is_found(facts: Facts) -> None:
    for name in (name for name in facts.tree.files if re.fullmatch(r"checklists/\w+\.yaml", name)):
        text = facts.tree.text(name)[:20_000].rpartition("\n    - symbol:")[0]  # the first entries are enough
        sites = re.findall(r"areal/[\w/]+\.py#[\w.]+", text)
        for site in sites[:: max(1, len(sites) // 2)]:
            found, _ = scan_text(name, text.replace(site, f"{site}q", 1), facts)
            assert [finding.code for finding in found] == ["H021"], site
            path, _, symbol = site.partition("#")
            found, _ = scan_text(name, text.replace(site, f"{path[:-3]}q.py#{symbol}", 1), facts)
            assert [finding.code for finding in found] == ["H020"], site


def test_every_damaged_symbol_of_our_sources_is_found(facts: Facts) -> None:
    missed, total = [], 0
    for name, text in our_texts(facts):
        for mention in mentions(name, text):
            token = mention.text
            if mention.kind != "code" or not (DOTTED.match(token) or IDENTIFIER.match(token)) or as_path(token, facts):
                continue
            changed = damaged(name, text, mention, token, f"{token}q")
            if changed is None:
                continue
            total += 1
            found, _ = scan_text(name, changed, facts)
            if not any(f"{token}q".rpartition(".")[2] in finding.message for finding in found):
                missed.append((name, mention.line, token))
    assert missed == []
    assert total > 100


def test_every_damaged_command_of_our_sources_is_found(facts: Facts) -> None:
    missed, total = [], 0
    for name, text in our_texts(facts):
        for mention in mentions(name, text):
            words = re.match(r"(areal \w+(?: [a-z]+)?|make [a-z-]+)\b", mention.text)
            if mention.kind not in ("code", "shell") or words is None or words[0].split()[1] in ("train",):
                continue
            command = words[0]
            if command.split()[-1] not in ("check", "build", "list") and len(command.split()) == 3:
                command = " ".join(command.split()[:2])
            changed = damaged(name, text, mention, command, f"{command}q")
            if changed is None:
                continue
            total += 1
            found, _ = scan_text(name, changed, facts)
            if not any(finding.code == "H022" and finding.line == mention.line for finding in found):
                missed.append((name, mention.line, command))
    assert missed == []
    assert total > 15


def test_every_lazily_handed_out_name_resolves(facts: Facts) -> None:
    index = SymbolIndex(facts.tree)
    names = []
    for path in facts.tree.files:
        if path.startswith("areal/") and path.endswith("__init__.py") and "attach(" in facts.tree.text(path):
            package = path.removesuffix("/__init__.py").replace("/", ".")
            listed = re.findall(r'"(\w+)": (?:f?"|_)', facts.tree.text(path), re.MULTILINE)
            names += [f"{package}.{name}" for name in listed]
    assert len(names) > 60
    assert [name for name in names if not index.exists(name)] == []
    assert [name for name in names if index.exists(f"{name}q")] == []


def test_symbols_agree_with_a_real_import(facts: Facts) -> None:
    import importlib
    import inspect

    index, checked = SymbolIndex(facts.tree), 0
    for module_name in (
        "areal.api.cli_args",
        "areal.api.io_struct",
        "areal.utils.errors",
        "areal.harness.core.findings",
    ):
        module = importlib.import_module(module_name)
        for name, value in vars(module).items():
            if name.startswith("__"):
                continue
            assert index.exists(f"{module_name}.{name}"), name
            if inspect.isclass(value) and value.__module__.startswith("areal."):
                members = [member for member in vars(value) if not member.startswith("_")]
                for member in members:
                    assert index.exists(f"{module_name}.{name}.{member}"), (name, member)
                    checked += 1
                assert not index.exists(f"{module_name}.{name}.no_such_member")
    assert checked > 100


def test_paths_written_relative_to_their_file_exist(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.py").write_text("")
    (tmp_path / "a" / "t.md").write_text("`b/x.py` [x](b/x.py) [y](../a/b/x.py) [z](../../etc/passwd)\n")
    found, _ = scan_text("a/t.md", (tmp_path / "a" / "t.md").read_text(), Facts(Tree(tmp_path)))
    assert [finding.message for finding in found] == ["link to ../../etc/passwd: ../../etc/passwd does not exist"]
