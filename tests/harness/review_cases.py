# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""For each check of `areal review` a change that it must report, and changes that look alike and are fine."""

from __future__ import annotations

from areal.harness.generate.output import digest
from tests.harness.git_tree import CONFIG, FILES, PAGE, translation

CORE = FILES["areal/engine/core.py"]
NEW_EN = "# Page\n\nNew text.\n"
FIELD = '    warmup: int = setting(0, "Warm-up.", unit="steps", ge=0)\n'
CONFIG_WITH_FIELD = CONFIG.replace("\n    def", f"{FIELD}\n    def")
READER = {"areal/engine/core.py": CORE + "\n\ndef warm(config):\n    return config.warmup\n"}
REFERENCE = {"docs/en/cli_reference.md": "# Reference\n\nwarmup\n"}
API = FILES["areal/api/io_struct.py"]
EXPERT = ".agents/experts/archon-expert.md"


def core(*lines: str) -> dict[str, str]:
    """The engine with a function of these lines."""
    return {
        "areal/engine/core.py": CORE + "\n\ndef other(x, rank, group):\n" + "".join(f"    {line}\n" for line in lines)
    }


def test_file(*lines: str, name: str = "tests/test_new.py") -> dict[str, str]:
    """A test file of these lines."""
    return {name: "\n".join(('"""Tests."""', "import pytest", "import torch", *lines)) + "\n"}


def copied(text: str, of: str) -> dict[str, str]:
    """An expert with a generated copy of `of`."""
    copy = f"<!-- GENERATED from {EXPERT} source:{digest(of)} text:{digest('<!-- ', ' -->')}; edit the source, then run: areal harness build -->"
    return {EXPERT: text, ".claude/agents/archon-expert.md": copy}


FAULTY = {
    "R010": core(f'return open("/{"data"}/jiarui/models/x")'),
    "R011": core("from tests.helpers import run_case", "return run_case(x)"),
    "R012": {"docs/en/unused.png": b"\x89PNG\0"},
    "R013": {"areal/api/config/engine.py": CONFIG.replace("1e-3", "1e-4")},
    "R014": {"docs/en/page.md": NEW_EN},
    "R015": {"README.md": "# areal\n\n\nText that\nis read.\n", **core("return x")},
    "R016": {
        "areal/api/config/engine.py": CONFIG_WITH_FIELD.replace(FIELD, "    warmup: int = 0\n"),
        **READER,
        **REFERENCE,
    },
    "R017": {"areal/api/io_struct.py": API.replace("def make(", "def create(")},
    "R018": test_file("def test_gpu():", '    assert torch.zeros(1).to("cuda").sum() == 0'),
    "R019": {"areal/weights.bin": b"\0" * 600_000},
    "R020": copied("new", of="old"),
    "R021": {"pyproject.toml": FILES["pyproject.toml"].replace("transformers>=5.10", "transformers>=5.20")},
    "R022": core("if rank == 0:", "    dist.all_reduce(x)", "return x"),
    "R023": test_file("def test_nothing():", "    x = torch.zeros(1)", "    x + 1"),
    "R024": test_file("@pytest.mark.skip", "def test_later():", "    assert torch"),
    "R025": {"areal/api/config/engine.py": CONFIG_WITH_FIELD, **REFERENCE},
}
# More ways to be wrong: (code, name, change).
ALSO_FAULTY = [
    (
        "R010",
        "home_in_yaml",
        {"areal/run.yaml": "path: /" + "home/jiarui/x\n", "README.md": "# areal\n\nSee run.yaml.\n"},
    ),
    ("R011", "path_to_tests", core('return Path(__file__).parents[4] / "tests" / "data.json"')),
    ("R013", "flag", {"areal/cli/train.py": FILES["areal/cli/train.py"] + 'p.add_argument("--y", help="y")\n'}),
    ("R010", "mount", core(f'return open("/{"mnt"}/models")')),
    ("R010", "placeholder_in_code", core(f'return open("/{"home"}/user/x.json")')),
    ("R011", "open", core('return open("tests/data.json")')),
    ("R012", "at_the_top", {"figure.svg": "<svg/>"}),
    (
        "R018",
        "device_name",
        test_file("def test_gpu():", '    device = "cuda"', "    assert torch.ones(1).to(device) > 0"),
    ),
    ("R022", "environment", core('if os.environ["RANK"] == "0":', "    torch.distributed.barrier()")),
    (
        "R022",
        "elif",
        core("if rank == 0:", "    dist.barrier()", "elif rank == 1:", "    print(x)", "else:", "    dist.barrier()"),
    ),
    ("R014", "translation_alone", {"docs/zh/page.md": translation(PAGE, "# 页\n\n另文。\n")}),
    ("R014", "translation_of_nothing", {"docs/zh/nothing.md": "# 无\n"}),
    (
        "R016",
        "number_without_range",
        {"areal/api/config/engine.py": CONFIG_WITH_FIELD.replace(", ge=0)\n\n", ")\n\n"), **READER, **REFERENCE},
    ),
    (
        "R016",
        "flag_without_help",
        {"areal/cli/train.py": FILES["areal/cli/train.py"] + 'p.add_argument("--y")\n', **REFERENCE},
    ),
    ("R017", "required_parameter", {"areal/api/io_struct.py": API.replace("b: int = 2", "b: int")}),
    (
        "R017",
        "export",
        {"areal/reward/__init__.py": FILES["areal/reward/__init__.py"].replace('"f": "areal.reward.f", ', "")},
    ),
    ("R017", "parameter_of_export", {"areal/reward/f.py": FILES["areal/reward/f.py"].replace("a, b=1", "a")}),
    ("R017", "module", {"areal/api/io_struct.py": None}),
    ("R022", "after_return", core("if rank != 0:", "    return None", "dist.barrier()")),
    ("R022", "expression", core("rank == 0 and dist.broadcast(x, 0)")),
    ("R022", "in_loop", core("while rank > 0:", "    group.barrier()", "    rank -= 1")),
    (
        "R022",
        "get_rank",
        core(
            "with open('f') as f:",
            "    if dist.get_rank(group) == 0:",
            "        for y in x:",
            "            dist.all_gather(y, y)",
        ),
    ),
    ("R023", "trivial", test_file("def test_true():", "    assert True")),
    ("R023", "helper", test_file("def compute(x):", "    return x + 1", "def test_it():", "    compute(1)")),
    ("R024", "skipif", test_file("@pytest.mark.skipif(torch.x > 1)", "def test_it():", "    assert torch")),
    ("R024", "call", test_file("def test_it():", '    pytest.skip("")', "    assert torch")),
]
CLEAN = {
    "R010": core(
        'return open("/dev/shm/x"), "https://host.example/data/a/b", "/v1/models", "/usr/bin/env", "a/home/b/c"'
    ),
    "R011": {
        **core("from areal.tests_of_time import a", "import testsuite"),
        "tests/test_more.py": "from tests.helpers import run_case\n\n\ndef test_it():\n    run_case(1)\n",
    },
    "R012": {"docs/en/used.png": b"\x89PNG\0", "docs/en/alone.md": "# Page\n\n![f](used.png)\n"},
    "R013": {"areal/api/config/engine.py": CONFIG.replace("assert self.lr >= 0", "assert self.lr >= 0, self.lr")},
    "R014": {"docs/en/page.md": NEW_EN, "docs/zh/page.md": translation(NEW_EN, "# 页\n\n新文。\n")},
    "R015": {
        "README.md": "# areal\n\nText\nthat is read.\n",
        "areal/engine/core.py": CORE.replace('    """Step."""\n', '    """Step."""\n\n'),
    },
    "R016": {"areal/api/config/engine.py": CONFIG_WITH_FIELD, **READER, **REFERENCE},
    "R017": {
        "areal/api/io_struct.py": "from areal.engine.core import make\n\n\ndef _old():\n    pass\n",
        "areal/reward/f.py": FILES["areal/reward/f.py"].replace("b=1", "b=2, c=3").split("\n\n\ndef g")[0] + "\n",
        "areal/reward/__init__.py": FILES["areal/reward/__init__.py"].replace(', "g": "areal.reward.f"', ""),
    },
    "R018": test_file(
        "@pytest.mark.gpu",
        "def test_gpu():",
        "    assert torch.zeros(1).cuda().sum() == 0",
        "def test_names():",
        '    assert torch.device("cuda:1").index == 1',
        "    assert torch.cuda.is_available() in (True, False)",
        '@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")',
        "def test_if():",
        '    assert torch.ones(1, device="cuda") > 0',
    ),
    "R019": {"areal/small.bin": b"\0" * 1000},
    "R020": copied("new", of="new"),
    "R021": {
        "pyproject.toml": FILES["pyproject.toml"]
        .replace("ruff==0.17.5", "ruff==0.17.6")
        .replace('"torch', '"numpy>=2", "torch')
    },
    "R022": core(
        "if rank == 0:",
        "    dist.broadcast(x, 0)",
        "else:",
        "    dist.broadcast(group, 0)",
        "if rank is not None:",
        "    dist.barrier()",
        "if rank in (0, 1):",
        "    dist.all_reduce(x, group=group)",
        "if rank == 0:",
        "    print(x)",
        "dist.all_reduce(x)",
        "if len(x) > 1:",
        "    dist.barrier()",
        "if rank == 0:",
        "    dist.barrier()",
        "elif rank == 1:",
        "    dist.barrier()",
        "else:",
        "    dist.barrier()",
        "lora_rank = 3",
        "if lora_rank > 0:",
        "    dist.barrier()",
        "if rank == 0:",
        "    dist.send(x, 1)",
    ),
    "R023": test_file(
        "from tests.helpers import run_case",
        "def test_helper():",
        "    run_case(1)",
        "def worker(rank):",
        "    assert rank >= 0",
        "def test_ranks():",
        "    map(worker, [1])",
        "def test_raises():",
        "    with pytest.raises(ValueError):",
        "        int('x')",
        "def test_close():",
        "    torch.testing.assert_close(torch.ones(1), torch.ones(1))",
    ),
    "R024": test_file(
        '@pytest.mark.skip(reason="needs a cluster")',
        "def test_a():",
        "    assert torch",
        '@pytest.mark.skipif(torch.x, reason="needs x")',
        "def test_b():",
        "    assert torch",
        "def test_c():",
        '    pytest.skip("needs y")',
        "    assert torch",
    ),
    "R025": {"areal/api/config/engine.py": CONFIG_WITH_FIELD, **READER, **REFERENCE},
}
ALSO_CLEAN = [
    ("unchanged_collective_elsewhere", {"areal/engine/core.py": CORE + "\n# more\n"}),
("translation_catches_up", {"docs/zh/late.md": translation(PAGE)}),
    ("page_without_translation", {"docs/en/alone.md": NEW_EN}),
    ("removed_after_deprecation", {"areal/api/io_struct.py": API.split("\n\n\ndef old")[0] + "\n"}),
    ("summary", {"pyproject.toml": FILES["pyproject.toml"].replace("5.10", "5.20"), "docs/upgrade-summary.md": "# Upgrade\n"}),
    ("moved_file", {"docs/en/alone.md": None, "docs/en/other.md": PAGE}),
    ("python_that_does_not_parse", {"areal/engine/broken.py": "def (:\n"}),
    ("odd_names", {"docs/en/ü b\tc.md": "# x\n", "docs/en/-rf.md": "# y\n"}),
]  # fmt: skip
