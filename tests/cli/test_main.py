# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from areal.cli import main as cli
from areal.utils.errors import ConfigError, InfraError

AREAL2 = Path(__file__).parents[1] / "api" / "configs" / "areal2_gsm8k_grpo.yaml"
DRIVER = """
from areal.utils.errors import InfraError

calls = []

def main(argv):
    calls.append(argv)
    return 7

def silent(argv):
    return None

def failing(argv):
    raise InfraError("server gone")

not_a_function = 3
"""


@pytest.fixture
def driver_folder(tmp_path, monkeypatch):
    (tmp_path / "my_driver_module.py").write_text(DRIVER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("my_driver_module", None)


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for name, command in cli.COMMANDS.items():
        assert name in out
        assert command.help in out


def test_no_command_prints_the_help(capsys):
    assert cli.main([]) == 0
    assert "commands:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "hint"), [("rport", "Did you mean 'report'?"), ("zzz", f"Commands: {', '.join(cli.COMMANDS)}.")]
)
def test_unknown_command_suggests_and_returns_2(capsys, typed, hint):
    assert cli.main([typed]) == 2
    assert hint in capsys.readouterr().err


def test_version_prints_areal_and_torch(capsys):
    assert cli.main(["version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("areal ")
    assert "torch 2." in out


def test_config_check_prints_the_plan_with_overrides_applied(capsys):
    argv = ["config", "check", str(AREAL2), "--cls", "GRPO", "rollout.backend=native:d1", "actor.optimizer.lr=3e-5"]
    assert cli.main(argv) == 0
    out = capsys.readouterr().out
    assert "lr: 3.0e-05" in out
    assert "# Processes" in out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([str(AREAL2)], "sglang is not in this release"),
        ([str(AREAL2), "actr.lr=1"], "Did you mean 'actor'?"),
        (["nowhere.yaml"], "nowhere.yaml"),
        ([str(AREAL2), "--cls", "PPPO"], "--cls"),
        ([str(AREAL2), "--cls", "pathlib:Path"], "BaseExperimentConfig"),
    ],
)
def test_config_check_of_a_bad_config_returns_2_with_its_error(capsys, arguments, problem):
    assert cli.main(["config", "check", *arguments]) == 2
    errors = capsys.readouterr().err.partition("areal config: ")[2]
    assert problem in errors


def test_config_check_accepts_a_users_class(capsys):
    name = "areal.api.cli_args:PPOConfig"
    assert cli.main(["config", "check", str(AREAL2), "--cls", name, "rollout.backend=native:d1"]) == 0


def test_train_run_hands_the_driver_its_arguments(driver_folder):
    argv = ["train", "run", "a.b=1", "--config", "f.yaml", "--driver", "my_driver_module:main", "--dry-run", "+c=2"]
    assert cli.main(argv) == 7
    import my_driver_module

    assert my_driver_module.calls == [["--config", "f.yaml", "a.b=1", "--dry-run", "+c=2"]]


def test_train_run_without_result_succeeds(driver_folder):
    assert cli.main(["train", "run", "--config", "f", "--driver", "my_driver_module:silent"]) == 0


def test_train_run_failure_of_infrastructure_returns_1(driver_folder, capsys):
    assert cli.main(["train", "run", "--config", "f", "--driver", "my_driver_module:failing"]) == 1
    assert "server gone" in capsys.readouterr().err
    assert issubclass(InfraError, Exception)


@pytest.mark.parametrize(
    "driver", ["nowhere_at_all:main", "my_driver_module:mian", "main", "my_driver_module:not_a_function"]
)
def test_train_run_with_a_wrong_driver_returns_2(driver_folder, capsys, driver):
    assert cli.main(["train", "run", "--config", "f", "--driver", driver]) == 2
    assert "--driver" in capsys.readouterr().err


def test_every_command_has_its_module():
    for command in cli.COMMANDS.values():
        assert importlib.util.find_spec(command.module) is not None


def test_run_script_reports_areals_errors_without_a_traceback(capsys, monkeypatch):
    def driver(argv):
        raise {"config": ConfigError, "infra": InfraError}[argv[0]]("expected a, got b; use c")

    monkeypatch.setattr(sys, "argv", ["examples/train.py", "config"])
    assert cli.run_script(driver) == 2
    monkeypatch.setattr(sys, "argv", ["examples/train.py", "infra"])
    assert cli.run_script(driver) == 1
    assert capsys.readouterr().err == "train.py: expected a, got b; use c\n" * 2


def test_run_script_lets_other_errors_pass(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(ZeroDivisionError):
        cli.run_script(lambda argv: 1 // 0)
    assert cli.run_script(lambda argv: None) == 0


def test_reader_that_has_had_enough_is_no_traceback(tmp_path):
    command = f"{sys.executable} -m areal.cli.main doctor --skip-torch; echo $? >{tmp_path / 'code'}"
    done = subprocess.run(f"({command}) | true", shell=True, capture_output=True, text=True, timeout=60)

    assert done.stderr == ""
    assert (tmp_path / "code").read_text().strip() in ("0", "1", "141")


def test_broken_pipe_to_a_process_of_ours_is_no_success(monkeypatch):
    def broken(argv):
        raise BrokenPipeError("a worker")

    monkeypatch.setattr("areal.cli.version.main", broken)
    with pytest.raises(BrokenPipeError):
        cli.main(["version"])
