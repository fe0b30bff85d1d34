# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The GSM8K scripts on a CPU, by the very commands of the READMEs."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from areal.cli.report import build_report
from areal.experimental.models.archon.model_spec import get_model_spec, get_supported_model_types
from areal.utils import stat_keys as keys
from areal.utils.hf_utils import load_hf_tokenizer
from areal.utils.names import log_dir
from tests.examples.commands import ROOT, commands_of, rows_and_summary, run, table_rows

MODEL_PAGE = ROOT / "docs" / "add_a_model.md"
OVERRIDES = table_rows(ROOT / "examples" / "math" / "README.md")


def cpu_command(script: str, model: str, data: Path, fileroot: Path) -> list[str]:
    """The README's command for a CPU, on this model and data."""
    (command,) = [c for c in commands_of(ROOT / "README.md", script) if "actor.path=runs/tiny" in c]
    words = [word.replace("runs/tiny", model).replace("path/to/gsm8k", str(data)) for word in command]
    return [*words, f"cluster.fileroot={fileroot}"]


def test_readme_sft_command_trains_and_evaluates(tmp_path: Path, tiny_model: str, gsm8k_dir: Path) -> None:
    run(cpu_command("gsm8k_sft.py", tiny_model, gsm8k_dir, tmp_path))
    rows, summary = rows_and_summary(tmp_path, "gsm8k-sft", "trial0")
    assert summary["status"] == "finished" and summary["num_steps"] == len(rows) == 4
    assert rows[0][keys.SFT_LOSS] > rows[-1][keys.SFT_LOSS] > 0
    assert rows[-1][keys.SFT_EVAL_LOSS] == pytest.approx(rows[-1][keys.SFT_LOSS], rel=0.05)
    assert summary["tokens_per_s"] > 0 and summary["num_parameters"] > 5e5


@pytest.mark.parametrize("script", ["gsm8k_sft.py", pytest.param("gsm8k_rl.py", marks=pytest.mark.slow)])
def test_commands_of_the_model_page_train_a_family_on_archon(script: str, tmp_path: Path, gsm8k_dir: Path) -> None:
    (make,) = commands_of(MODEL_PAGE, "make_tiny_model.py")
    (train,) = commands_of(MODEL_PAGE, script)
    given = {"runs/tiny_$TYPE": str(tmp_path / "model"), "$TYPE": "olmoe", "path/to/data": str(gsm8k_dir)}
    for command in (make, [*train, f"cluster.fileroot={tmp_path}"]):
        for name, value in given.items():
            command = [word.replace(name, value) for word in command]
        run(command)
    experiment = {"gsm8k_sft.py": "gsm8k-sft", "gsm8k_rl.py": "gsm8k-grpo"}[script]
    rows, summary = rows_and_summary(tmp_path, experiment, "olmoe")
    assert summary["status"] == "finished" and len(rows) == 4


@pytest.mark.parametrize("model_type", sorted(get_supported_model_types()))
def test_tiny_model_of_every_family_is_one_that_archon_runs(model_type: str, tiny_model: str) -> None:
    example = runpy.run_path(str(ROOT / "examples" / "math" / "make_tiny_model.py"), run_name="example")
    config = example["archon_config"](model_type)
    tokenizer = load_hf_tokenizer(tiny_model)
    example["fit"](config, tokenizer)
    args = get_model_spec(model_type).model_args_class.from_hf_config(config)
    assert args.vocab_size == len(tokenizer)


@pytest.mark.slow
def test_readme_rl_command_trains_asynchronously_and_its_report_is_whole(
    tmp_path: Path, tiny_model: str, gsm8k_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = cpu_command("gsm8k_rl.py", tiny_model, gsm8k_dir, tmp_path)
    run([*command, *OVERRIDES["a time line in the report"], *OVERRIDES["accuracy before training"]])
    rows, summary = rows_and_summary(tmp_path, "gsm8k-grpo", "trial0")
    assert summary["status"] == "finished" and summary["num_steps"] == len(rows) == 4
    assert all(row[keys.LAG_MAX] <= min(step, 2) for step, row in enumerate(rows))
    assert summary["accuracy_before"]["num_problems"] == summary["accuracy_after"]["num_problems"] == 32
    assert 0 < summary["trainer_wait_share"] < 1 and 0 < summary["overlap_share"] <= 1
    run_dir = log_dir(str(tmp_path), "gsm8k-grpo", "trial0")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[:4]] == ["step 0/4", "step 1/4", "step 2/4", "step 3/4"]
    assert lines[4].startswith("finished: 4 steps in ") and lines[-1].endswith(f"areal report {run_dir}")
    report = build_report(run_dir).read_text()
    for lane in ("controller r0", "server r0", '"generate"', '"reward"', '"train"', '"sync"'):
        assert lane in report


@pytest.mark.parametrize("name", OVERRIDES)
def test_overrides_of_the_readme_resolve(
    name: str, tmp_path: Path, tiny_model: str, gsm8k_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = cpu_command("gsm8k_rl.py", tiny_model, gsm8k_dir, tmp_path)
    with pytest.raises(SystemExit) as ended:
        run([*command, *OVERRIDES[name], "--dry-run"])
    plan = capsys.readouterr().out
    assert ended.value.code == 0 and "# Processes" in plan and "rollout server" in plan


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        ("repeatable", "RLOO", "KL to the initial policy"),
        ("two trainer ranks, two servers", "batches that shrink instead of waiting", "GSPO", "DAPO's clipping"),
    ],
)
def test_overrides_of_the_readme_train(
    names: tuple[str, ...], tmp_path: Path, tiny_model: str, gsm8k_dir: Path
) -> None:
    overrides = [word for name in names for word in OVERRIDES[name]]
    command = cpu_command("gsm8k_rl.py", tiny_model, gsm8k_dir, tmp_path)
    short = ["total_train_steps=2", "gconfig.max_new_tokens=16", "train_dataset.dataset_kwargs.size=32"]
    run([*command, *overrides, *short, "valid_dataset=null"])
    rows, summary = rows_and_summary(tmp_path, "gsm8k-grpo", "trial0")
    assert summary["status"] == "finished" and len(rows) == 2
    assert {keys.STEP_S, keys.ROLLOUT_S, keys.SYNC_S, keys.REWARD, keys.MISMATCH_KL} <= rows[-1].keys()


@pytest.mark.parametrize("script", ["gsm8k_sft", "gsm8k_rl"])
def test_commands_for_gpus_resolve_as_they_are(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"gsm8k_sft": "gsm8k_sft.yaml", "gsm8k_rl": "gsm8k_grpo.yaml"}[script]
    with pytest.raises(SystemExit) as ended:
        run([f"examples/math/{script}.py", "--config", f"{ROOT}/examples/math/{config}", "--dry-run"])
    assert ended.value.code == 0
    assert "8" in capsys.readouterr().out.split("# Processes")[1]
