# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Micro-batches one after another: whichever of them count, their gradients arrive."""

import pytest

from areal.engine.fsdp_engine import FSDPEngine
from areal.experimental.engine.archon_engine import ArchonEngine
from tests.engine.tiny import make_batch, micro_batches, num_trained_tokens, tiny_config, weighted_loss
from tests.experimental.engine.helpers import save_tiny_archon, start


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_archon(tmp_path_factory.mktemp("tiny") / "model")


@pytest.mark.parametrize("engine_class", [FSDPEngine, ArchonEngine])
@pytest.mark.parametrize("masked_row", [0, 1], ids=["first", "last"])
def test_train_batch_micro_batch_without_weight_loses_no_gradients_of_others(
    model_path: str, engine_class: type, masked_row: int
):
    batch = make_batch([30, 31])
    batch["loss_mask"][masked_row] = 0
    norms = []
    for dtype in ("float32", "bfloat16"):  # bfloat16 goes through FSDP in one process, too
        engine = start(engine_class(tiny_config(model_path, dtype=dtype, mb_spec=micro_batches(2, 31))))
        result = engine.train_batch(batch, weighted_loss, num_trained_tokens)
        assert result["num_micro_batches"] == 2.0
        norms.append(result["grad_norm"])
        engine.destroy()
    assert norms[1] == pytest.approx(norms[0], rel=2e-2)
