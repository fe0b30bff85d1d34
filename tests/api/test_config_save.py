# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import sys

import pytest
import yaml

from areal.api.cli_args import (
    GenerationHyperparameters,
    GRPOConfig,
    StatsLoggerConfig,
    TrainDatasetConfig,
    WandBConfig,
    conf_as_dict,
    describe_plan,
    get_py_cmd,
    load_expr_config,
    parse_cli_args,
    save_config,
)

SECRET = "hunter2-very-secret"


@pytest.fixture
def config():
    return GRPOConfig(
        experiment_name="e",
        trial_name="t",
        gconfig=GenerationHyperparameters(max_new_tokens=8),
        train_dataset=TrainDatasetConfig(dataset_kwargs={"hf_token": SECRET, "max_tokens": 3, "password": SECRET}),
        stats_logger=StatsLoggerConfig(wandb=WandBConfig(wandb_api_key=SECRET)),
    )


def test_secrets_reach_no_dict_file_plan_nor_repr(config, tmp_path):
    saved = save_config(config, tmp_path / "new" / "folder").read_text()
    for text in (saved, str(conf_as_dict(config)), describe_plan(config), repr(config.stats_logger)):
        assert SECRET not in text
    assert conf_as_dict(config)["train_dataset"]["dataset_kwargs"]["max_tokens"] == 3
    assert config.stats_logger.wandb.wandb_api_key == SECRET  # the object itself stays usable


def test_secrets_of_an_untyped_config_are_redacted_by_name(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(f"experiment_name: e\nstats_logger: {{wandb: {{wandb_api_key: {SECRET}}}}}\n")
    cfg, _ = parse_cli_args(["--config", str(file)])
    assert SECRET not in str(conf_as_dict(cfg))


def test_secret_comes_from_the_environment_when_empty_or_redacted(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "from-env")
    assert WandBConfig().wandb_api_key == "from-env"
    assert WandBConfig(wandb_api_key="***").wandb_api_key == "from-env"
    assert WandBConfig(wandb_api_key="own").wandb_api_key == "own"
    monkeypatch.delenv("WANDB_API_KEY")
    assert WandBConfig(wandb_api_key="***").wandb_api_key == ""


def test_saved_file_keeps_key_order_and_loads_back_equal(config, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    config.train_dataset.dataset_kwargs = {"b": 1, "a": [1e-8, None, "x"]}
    path = save_config(config, tmp_path)
    again, _ = load_expr_config(["--config", str(path)], GRPOConfig)
    assert list(yaml.safe_load(path.read_text()))[:3] == ["experiment_name", "trial_name", "cluster"]
    assert again == config


def test_get_py_cmd_builds_flags_of_this_interpreter():
    args = {
        "model_path": "m",
        "none": None,
        "off": False,
        "on": True,
        "empty": "",
        "no_items": [],
        "ids": [1, 2],
        "zero": 0,
    }
    expected = ["--model-path", "m", "--on", "--ids", "1", "2", "--zero", "0"]
    assert get_py_cmd("pkg.mod", args) == [sys.executable, "-m", "pkg.mod", *expected]
