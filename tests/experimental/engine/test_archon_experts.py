# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What ArchonEngine does for experts once an optimizer step: selection biases, auxiliary losses, statistics of load."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from areal.api.alloc_mode import ModelAllocation
from areal.api.cli_args import ArchonEngineConfig
from areal.api.io_struct import SaveLoadMeta
from tests.distributed import run_ranks
from tests.engine.tiny import (
    SEQ_LENS,
    make_batch,
    micro_batches,
    num_trained_tokens,
    rows_of,
    tiny_config,
    weighted_loss,
)
from tests.experimental.engine.helpers import make_archon, save_tiny_archon

BIAS = "model.layers.1.mlp.gate.e_score_correction_bias"
RATE = 0.01


@pytest.fixture(scope="module")
def biased_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A DeepSeek-V3 of two layers, the second with four experts that are chosen by biased scores."""
    return save_tiny_archon(
        tmp_path_factory.mktemp("tiny") / "model",
        "deepseek_v3",
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        moe_intermediate_size=16,
        kv_lora_rank=8,
        q_lora_rank=8,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=8,
        head_dim=8,
        num_key_value_heads=4,
        first_k_dense_replace=1,
        n_shared_experts=1,
    )


def config_of(path: str, **archon: Any) -> Any:
    return tiny_config(path, mb_spec=micro_batches(2), archon=ArchonEngineConfig(pp_schedule="1F1B", **archon))


def biases_after_two_steps(
    rank: int, world_size: int, config: Any, backend: str
) -> tuple[list[Tensor], list[dict[str, float]]]:
    strategy = ModelAllocation.from_str(backend).parallel
    engine = make_archon(config, backend)
    rows = {1: [list(range(8))], 2: [[0, 3, 5], [1, 2, 4, 6, 7]]}[strategy.dp_size][strategy.data_rank(rank)]
    part = rows_of(make_batch(SEQ_LENS), rows)
    biases, results = [dict(engine.state_iter())[BIAS]], []
    for _ in range(2):
        results.append(engine.train_batch(part, weighted_loss, num_trained_tokens))
        biases.append(dict(engine.state_iter())[BIAS])
    engine.eval_batch(part, weighted_loss, num_trained_tokens)  # counts nothing
    engine.destroy()
    return biases, results


def test_selection_biases_move_by_the_rate_against_the_load_once_a_step(biased_path: str):
    biases, results = biases_after_two_steps(0, 1, config_of(biased_path, moe_bias_update_rate=RATE), "archon:d1")
    for before, after in itertools.pairwise(biases):
        moved = after - before
        assert moved.dtype == torch.float32
        assert float(moved.abs().max()) > 0.4 * RATE
        assert float(moved.sum().abs()) < 1e-6  # they do not drift together
    assert results[0]["moe/max_load"] > 1.0 > results[0]["moe/min_load"] > 0.0


def test_selection_biases_stay_without_a_rate_and_after_a_skipped_step(biased_path: str):
    biases, _ = biases_after_two_steps(0, 1, config_of(biased_path), "archon:d1")
    assert torch.equal(biases[0], biases[2])
    engine = make_archon(config_of(biased_path, moe_bias_update_rate=RATE))
    engine.train_batch(make_batch(SEQ_LENS), lambda *args: weighted_loss(*args) * float("nan"), num_trained_tokens)
    assert torch.equal(dict(engine.state_iter())[BIAS], biases[0])


@pytest.mark.parametrize(
    "backend", ["archon:d2e2", "archon:(attn:d1t2|ffn:e2)", "archon:(attn:c2|ffn:e2)", "archon:p2"]
)
def test_selection_biases_and_loads_do_not_depend_on_the_layout(biased_path: str, backend: str):
    config = config_of(biased_path, moe_bias_update_rate=RATE)
    expected = biases_after_two_steps(0, 1, config, "archon:d1")
    for biases, results in run_ranks(biases_after_two_steps, 2, config, backend):
        assert all(torch.equal(got, wanted) for got, wanted in zip(biases, expected[0], strict=True))
        for got, wanted in zip(results, expected[1], strict=True):
            loads = [name for name in wanted if name.startswith("moe/")]
            assert {name: got[name] for name in loads} == {name: wanted[name] for name in loads}


def test_selection_biases_survive_a_checkpoint_bit_for_bit(biased_path: str, tmp_path: Path):
    engine = make_archon(config_of(biased_path, moe_bias_update_rate=RATE))
    engine.train_batch(make_batch(SEQ_LENS), weighted_loss, num_trained_tokens)
    bias = dict(engine.state_iter())[BIAS]
    for weight_format in ("hf", "dcp"):
        meta = SaveLoadMeta(path=str(tmp_path / weight_format), weight_format=weight_format)
        engine.save(meta)
        other = make_archon(config_of(biased_path))
        other.load(meta)
        assert torch.equal(dict(other.state_iter())[BIAS], bias)


def test_load_balancing_loss_evens_the_load_out(biased_path: str):
    def loads(coeff: float) -> float:
        engine = make_archon(config_of(biased_path, moe_aux_loss_coeff=coeff))
        batch = make_batch(SEQ_LENS)
        return [engine.train_batch(batch, weighted_loss, num_trained_tokens) for _ in range(12)][-1]["moe/max_load"]

    assert loads(10.0) < loads(0.0)
