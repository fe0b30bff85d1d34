# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A critic: one value a token, started from a language model, saved as HF's token classifier and loaded again."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForTokenClassification

from areal.api.alloc_mode import ModelAllocation
from areal.api.cli_args import ArchonEngineConfig
from areal.api.io_struct import SaveLoadMeta
from areal.engine.fsdp_engine import FSDPEngine
from areal.utils.errors import ConfigError
from tests.distributed import run_ranks
from tests.engine.tiny import SEQ_LENS, make_batch, micro_batches, num_trained_tokens, rows_of, tiny_config
from tests.experimental.engine.helpers import make_archon, save_tiny_archon, start


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_archon(tmp_path_factory.mktemp("tiny") / "model", "qwen3", tie_word_embeddings=True)


def config_of(path: str) -> Any:
    return tiny_config(path, is_critic=True, mb_spec=micro_batches(2), archon=ArchonEngineConfig(pp_schedule="1F1B"))


def squared_error(values: Tensor, mb: dict[str, Any]) -> Tensor:
    mask = mb["loss_mask"].float()
    return ((values - 1.0).square() * mask).sum() / mask.sum()


def train_two_steps(rank: int, world_size: int, config: Any, backend: str, batch: Any) -> Any:
    strategy = ModelAllocation.from_str(backend).parallel
    engine = make_archon(config, backend)
    rows = {1: [list(range(8))], 2: [[4], [0, 1, 2, 3, 5, 6, 7]]}[strategy.dp_size][strategy.data_rank(rank)]
    part = rows_of(batch, rows)
    values = engine.forward_batch(part)
    losses = [engine.train_batch(part, squared_error, num_trained_tokens)["loss"] for _ in range(2)]
    losses.append(float(engine.eval_batch(part, squared_error, num_trained_tokens)))
    engine.destroy()
    return rows, values, losses


@pytest.fixture(scope="module")
def critic_path(model_path: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A critic that started from the language model and was trained for a step."""
    torch.manual_seed(0)
    engine = make_archon(config_of(model_path))
    engine.train_batch(make_batch(SEQ_LENS), squared_error, num_trained_tokens)
    path = str(tmp_path_factory.mktemp("critic") / "saved")
    engine.save(SaveLoadMeta(path=path, weight_format="hf"))
    return path


def test_saved_critic_gives_its_values_in_transformers_and_here(critic_path: str):
    batch = make_batch(SEQ_LENS)
    values = make_archon(config_of(critic_path)).forward_batch(batch)
    hf, info = AutoModelForTokenClassification.from_pretrained(
        critic_path, dtype=torch.float32, output_loading_info=True
    )
    assert set(info["missing_keys"]) <= {"score.bias"} and not info["unexpected_keys"]
    bias = hf.score.bias if hf.score.bias is not None else torch.zeros(1)
    for row, length in enumerate(SEQ_LENS):
        expected = (hf.eval()(batch["input_ids"][row : row + 1, :length].long()).logits[0, :, 0] - bias).detach()
        torch.testing.assert_close(values[row, :length], expected, rtol=0.0, atol=2e-6)
        assert values[row, length:].eq(0).all()
    assert values[0, SEQ_LENS[0] - 1] != 0  # the last token has a value


@pytest.mark.parametrize("backend", ["archon:d2", "archon:d1t2", "archon:d1c2", "archon:p2"])
def test_critic_layout_changes_nothing(critic_path: str, backend: str):
    batch = make_batch(SEQ_LENS)
    config = config_of(critic_path)
    _, expected_values, expected_losses = train_two_steps(0, 1, config, "archon:d1", batch)
    assert expected_losses[2] < expected_losses[0]
    for rows, values, losses in run_ranks(train_two_steps, 2, config, backend, batch):
        assert losses == pytest.approx(expected_losses, rel=2e-5)
        for row, got in zip(rows, values, strict=True):
            length = SEQ_LENS[row]
            torch.testing.assert_close(got[:length], expected_values[row, :length], rtol=0.0, atol=1e-5)


def test_critic_on_fsdp_is_refused_with_the_alternative(model_path: str, tmp_path: Path):
    with pytest.raises(ConfigError, match="use an archon backend"):
        start(FSDPEngine(config_of(model_path)))
