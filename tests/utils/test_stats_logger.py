# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import json
import math
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import pytest

from areal.api.io_struct import FinetuneSpec
from areal.utils import stat_keys
from areal.utils.errors import ConfigError
from areal.utils.jsonl import read_jsonl, to_float, to_line
from areal.utils.stats_logger import StatsLogger

SPEC = FinetuneSpec(total_train_epochs=2, dataset_size=40, train_batch_size=4)


@pytest.fixture
def config(tmp_path: Path) -> SimpleNamespace:
    section = SimpleNamespace(
        experiment_name="exp",
        trial_name="t0",
        fileroot=str(tmp_path),
        tensorboard=SimpleNamespace(path=None),
        wandb=SimpleNamespace(mode="disabled"),
        trackio=SimpleNamespace(mode="disabled"),
    )
    return SimpleNamespace(stats_logger=section)


def rows_of(logger: StatsLogger) -> list[dict]:
    return read_jsonl(logger.run_dir / stat_keys.STATS_FILE)[0]


def commit_steps(logger: StatsLogger, steps: range) -> None:
    for step in steps:
        logger.commit(step // 10, step % 10, step, {"loss": float(step), "loss__count": 3.0})


def test_commit_appends_one_readable_row_a_step_before_any_close(config: SimpleNamespace) -> None:
    logger = StatsLogger(config, SPEC)
    commit_steps(logger, range(12))
    rows = rows_of(logger)
    assert [row["global_step"] for row in rows] == list(range(12))
    assert (rows[11]["epoch"], rows[11]["epoch_step"], rows[11]["loss"]) == (1, 1, 11.0)
    assert "loss__count" not in rows[0] and rows[0][stat_keys.UNIX_TIME_S] > 0


def test_commit_list_gives_each_row_its_own_log_step(config: SimpleNamespace) -> None:
    logger = StatsLogger(config, SPEC)
    logger.commit(0, 0, 0, [{"a": 1.0}, {"a": 2.0}])
    logger.commit(0, 1, 1, {"a": 3.0})
    logger.commit(0, 7, 7, {"a": 4.0})
    assert [row["log_step"] for row in rows_of(logger)] == [0, 1, 2, 7]
    assert logger.state_dict() == {"last_commit_step": 7}


def test_resume_drops_later_rows_and_a_torn_line_then_continues(config: SimpleNamespace) -> None:
    killed = StatsLogger(config, SPEC)
    commit_steps(killed, range(6))
    path = killed.run_dir / stat_keys.STATS_FILE
    path.write_text(path.read_text() + '{"log_step": 6, "lo')  # killed while writing
    resumed = StatsLogger(config, SPEC)
    resumed.load_state_dict({"last_commit_step": 3})
    commit_steps(resumed, range(4, 8))
    rows, num_malformed = read_jsonl(path)
    assert [row["global_step"] for row in rows] == list(range(8)) and num_malformed == 0
    with pytest.raises(RuntimeError, match="before the first commit"):
        resumed.load_state_dict({"last_commit_step": 3})


def test_new_run_in_a_used_folder_keeps_the_old_rows_aside(config: SimpleNamespace) -> None:
    for _ in range(3):
        logger = StatsLogger(config, SPEC)
        commit_steps(logger, range(2))
        logger.close()
    names = sorted(path.name for path in logger.run_dir.iterdir())
    assert names == ["stats.1.jsonl", "stats.2.jsonl", "stats.jsonl"] and len(rows_of(logger)) == 2


def test_commit_nan_stays_strict_json_and_readable(config: SimpleNamespace) -> None:
    logger = StatsLogger(config, SPEC)
    logger.commit(0, 0, 0, {"loss": math.nan, "ratio": -math.inf})
    line = (logger.run_dir / stat_keys.STATS_FILE).read_text()
    row = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert math.isnan(to_float(row["loss"])) and to_float(row["ratio"]) == -math.inf


def test_write_summary_adds_times_and_refuses_unknown_fields(config: SimpleNamespace) -> None:
    logger = StatsLogger(config, SPEC)
    commit_steps(logger, range(3))
    summary = logger.write_summary(status="failed", cause="server died", seed=1)
    assert summary == json.loads((logger.run_dir / stat_keys.SUMMARY_FILE).read_text())
    assert (summary["status"], summary["num_steps"], summary["seed"]) == ("failed", 3, 1)
    assert summary["wall_s"] >= 0 and "torch" in summary["version_info"]
    with pytest.raises(ValueError, match="colour"):
        logger.write_summary(colour="red")


def test_part_of_a_config_raises(config: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="experiment config"):
        StatsLogger(config.stats_logger, SPEC)
    config.stats_logger.trial_name = ""
    with pytest.raises(ValueError, match="trial_name"):
        StatsLogger(config, SPEC)


def test_default_backends_import_no_dashboard(config: SimpleNamespace) -> None:
    StatsLogger(config, SPEC)
    assert not {"wandb", "trackio"} & sys.modules.keys()


def test_tensorboard_writes_scalars(config: SimpleNamespace, tmp_path: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config.stats_logger.tensorboard.path = str(tmp_path / "tb")
    logger = StatsLogger(config, SPEC)
    commit_steps(logger, range(3))
    logger.close()
    events = accumulators.EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(0, 0.0), (1, 1.0), (2, 2.0)]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_missing_dashboard_package_names_the_extra(
    config: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    vars(config.stats_logger)[name].mode = "online"
    with pytest.raises(ConfigError, match=rf"stats_logger\.{name} is on.*areal\[wandb\]"):
        StatsLogger(config, SPEC)


def test_wandb_gets_rows_and_only_the_redacted_config(config: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[dict, int]] = []
    started: dict = {}

    def init(**kwargs: object) -> SimpleNamespace:
        started.update(kwargs)
        return SimpleNamespace(log=lambda row, step: logged.append((row, step)), finish=lambda: None)

    fake = types.ModuleType("wandb")
    vars(fake).update(init=init, login=lambda **kwargs: started.update(login=kwargs))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    fields = ("entity", "project", "name", "job_type", "group", "notes", "tags")
    config.stats_logger.wandb = SimpleNamespace(
        mode="offline", wandb_api_key="k3y", wandb_base_url="", id_suffix="train", **dict.fromkeys(fields)
    )
    logger = StatsLogger(config, SPEC, redacted_config={"seed": 1, "wandb_api_key": "***"})
    commit_steps(logger, range(1))
    logger.close()
    assert started["id"] == "exp_t0_train" and started["config"] == {"seed": 1, "wandb_api_key": "***"}
    assert [(row["loss"], step) for row, step in logged] == [(0.0, 0)]
    assert all("k3y" not in path.read_text() for path in logger.run_dir.rglob("*") if path.is_file())


def test_read_jsonl_counts_what_is_not_an_object(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(to_line({"a": 1}) + "\n[1]\nnot json\n" + '{"a": 2')
    assert read_jsonl(path) == ([{"a": 1}], 3)


@pytest.mark.parametrize("value", [None, "x", [1], {}])
def test_to_float_of_anything_else_is_none(value: object) -> None:
    assert to_float(value) is None
