# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""ArchonEngine with emulated 8-bit products: trains near bfloat16, and its weights leave as they came."""

from __future__ import annotations

import pytest
import torch

from areal.api.cli_args import ArchonEngineConfig, ArchonFP8Config
from areal.utils.errors import ConfigError
from tests.engine.tiny import SEQ_LENS, SGD, make_batch, tiny_config
from tests.experimental.engine.helpers import gradients_by_sgd, make_archon, save_tiny_archon

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_archon(tmp_path_factory.mktemp("wide") / "model", **SIZES)


def fp8(mode: str = "rowwise", emulate: bool = True) -> ArchonEngineConfig:
    return ArchonEngineConfig(fp8_config=ArchonFP8Config(mode=mode, emulate=emulate))


def test_train_batch_is_near_that_without_fp8_and_weights_keep_names_and_dtypes(model_path: str) -> None:
    pytest.importorskip("torchao.float8", reason="8-bit products are torchao's; install the extra fp8")
    config = tiny_config(model_path, dtype="bfloat16", optimizer=SGD)
    plain, engine = (
        make_archon(config),
        make_archon(tiny_config(model_path, dtype="bfloat16", optimizer=SGD, archon=fp8())),
    )
    before, weights = dict(plain.state_iter()), dict(engine.state_iter())
    assert all(torch.equal(weights[name], tensor) for name, tensor in before.items())
    assert {name: tensor.dtype for name, tensor in weights.items()} == {name: t.dtype for name, t in before.items()}
    batch = make_batch(SEQ_LENS)
    (expected, expected_grads), (got, grads) = (gradients_by_sgd(e, batch) for e in (plain, engine))
    assert grads.keys() == expected_grads.keys()
    assert got["grad_norm"] == pytest.approx(expected["grad_norm"], rel=0.1)
    assert got["grad_norm"] != expected["grad_norm"]


@pytest.mark.parametrize(
    ("dtype", "emulate", "text"),
    [("float32", True, "bfloat16 with fp8, got torch.float32"), ("bfloat16", False, "got device cpu")],
)
def test_initialize_without_what_fp8_needs_is_refused(model_path: str, dtype: str, emulate: bool, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make_archon(tiny_config(model_path, dtype=dtype, archon=fp8(emulate=emulate)))
