# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoConfig

from areal.cli import plan
from areal.utils.errors import ConfigError

CONFIG = Path(__file__).parent.parent.parent / "examples" / "math" / "gsm8k_grpo.yaml"


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    config = AutoConfig.for_model(
        "llama",
        vocab_size=256,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=8,
        max_position_embeddings=4096,
    )
    config.save_pretrained(tmp_path)
    return tmp_path


def run(model_dir: Path, backend: str, *arguments: str) -> int:
    overrides = [f"actor.path={model_dir}", f"actor.backend={backend}", "actor.mb_spec.max_tokens_per_mb=8192"]
    return plan.main([str(CONFIG), *arguments, *overrides])


def test_plan_of_a_run_as_data_has_the_layout_its_ranks_and_their_collectives(
    model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model_dir, "archon:d4t2", "--json") == 0

    found = json.loads(capsys.readouterr().out)
    assert (found["layout"], found["world_size"]) == ("archon:d4t2", 8)
    assert found["total_bytes"][0] > 0
    assert {entry["axis"] for entry in found["ranks"][0]["collectives"]} == {"dp_shard_cp", "tp"}


def test_plan_of_a_layout_that_does_not_fit_names_the_constraint(model_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"divisible by tp = 8, got 4"):
        run(model_dir, "archon:t8")


def test_plan_of_another_engine_says_which_override_to_add(model_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected actor.backend=archon:.*fsdp:d4.*add an override"):
        run(model_dir, "fsdp:d4")
