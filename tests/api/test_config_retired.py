# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import logging
from pathlib import Path

import pytest

from areal.api import cli_args
from areal.api.cli_args import GRPOConfig, load_expr_config
from areal.api.config import retired
from areal.api.config.schema import field_types
from areal.utils.errors import ConfigError
from areal.utils.logging import getLogger

AREAL2 = Path(__file__).parent / "configs" / "areal2_gsm8k_grpo.yaml"


class Lines(logging.Handler):
    """Collects log messages; areal's loggers do not propagate to pytest's handler."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture
def log():
    handler = Lines()
    getLogger("config").addHandler(handler)
    yield handler.lines
    getLogger("config").removeHandler(handler)


def load(*overrides):
    return load_expr_config(["--config", str(AREAL2), *overrides], GRPOConfig)[0]


def test_areal2_file_loads_with_its_meaning_kept(log):
    config = load()
    assert config.gconfig.n_samples == 4
    assert (config.actor.backend, config.rollout.backend) == ("fsdp:d4p1t1", "sglang:d4p1t1")
    assert (config.actor.reward_scaling, config.actor.reward_bias, config.actor.eps_clip) == (10.0, -0.5, 0.4)
    assert config.actor.rejection_sampling.upper == 5.0
    assert (config.actor.optimizer.lr, config.actor.optimizer.eps) == (1.7e-5, 1e-8)
    assert config.rollout.consumer_batch_size == 256
    assert config.scheduler.type == "local"
    assert config.ref is None
    assert any("no reference engine" in line for line in log)


def test_ignored_keys_are_one_line_with_reasons(log):
    load()
    lines = [line for line in log if line.startswith("settings without effect")]
    assert len(lines) == 1
    for key in ("sglang", "vllm", "launcher", "cluster.name_resolve", "rollout.agent", "ref.scheduling_spec"):
        assert key in lines[0]
    assert "weights always travel as versioned folders" in lines[0]


def test_file_without_retired_keys_logs_nothing(tmp_path, log):
    file = tmp_path / "c.yaml"
    file.write_text("experiment_name: a\ntrial_name: b\ngconfig: {max_new_tokens: 8}\n")
    load_expr_config(["--config", str(file)], GRPOConfig)
    assert log == []


@pytest.mark.parametrize(
    "override",
    [
        "actor.use_sapo_loss=true",
        "actor.use_cispo_loss=true",
        "actor.m2_threshold=0.04",
        "actor.gae_timestep_unit=turn",
        "actor.gae_lambda_kwargs={alpha: 1}",
        "actor.use_lora=true",
        "actor.enable_tree_training=true",
        "critic={path: x}",
        "critic.path=x",
        "teacher={path: x}",
        "gconfig.stop=[abc]",
        "gconfig.frequency_penalty=0.5",
        "gconfig.use_beam_search=true",
        "gconfig.reward_normalization=true",
        "rollout.use_lora=true",
        "rollout.return_routed_experts=true",
        "rollout.agent.mode=online",
        "recover.no_save_optim=true",
        "allocation_mode='sglang:d4+fsdp:d4'",
        "post_exit_hook=ls",
        "stats_logger.swanlab.mode=cloud",
        "actor.archon.fp8_config.include_experts=true",
        "actor.behave_imp_weight_cap=5.0",
        "actor.behave_imp_weight_mode=token_mask",
    ],
)
def test_setting_that_changes_the_meaning_is_refused(override):
    with pytest.raises(ConfigError, match="not supported") as caught:
        load(override)
    assert override.partition("=")[0].removesuffix(".mode").removesuffix(".path") in caught.value.args[0]


@pytest.mark.parametrize(
    "override",
    [
        "actor.use_sapo_loss=false",
        "actor.m2_threshold=null",
        "actor.gae_timestep_unit=token",
        "actor.gae_lambda_kwargs={}",
        "critic=null",
        "teacher=null",
        "gconfig.stop=null",
        "gconfig.frequency_penalty=0.0",
        "gconfig.frequency_penalty=0",
        "actor.use_lora=false",
        "actor.target_modules=[]",
        "allocation_mode=''",
        "stats_logger.swanlab.mode=disabled",
        "actor.weight_update_mode=disk",
        "actor._version=v2",
        "rollout.admin_api_key=areal-admin-key",
        "ref.use_sapo_loss=true",
        "actor.archon.fp8_config.use_triton=true",
    ],
)
def test_setting_at_its_default_or_without_influence_is_accepted(override, log):
    load(override)
    assert any(override.partition("=")[0].removesuffix(".mode") in line for line in log)


def test_removed_importance_cap_tells_the_migration():
    with pytest.raises(ConfigError, match=r"rejection_sampling\.upper"):
        load("actor.behave_imp_weight_cap=5.0")


def test_values_of_ignored_keys_are_not_logged(log):
    load("rollout.admin_api_key=hunter2", "actor.admin_api_key=hunter2")
    assert not any("hunter2" in line for line in log)


def test_retired_value_with_broken_reference_does_not_stop_the_load():
    load("actor.scheduling_spec=${nowhere.at.all}", "actor.use_sapo_loss=${nowhere}")


def test_retired_table_names_existing_classes_and_no_living_key():
    homes = {name: cls for name, cls in vars(cli_args).items() if dataclasses.is_dataclass(cls)}
    for cls_name, key, entry in retired.all_entries():
        assert cls_name in homes, f"{cls_name} is no config class"
        assert key not in field_types(homes[cls_name]), f"{cls_name}.{key} exists and is retired"
        assert entry.reason
