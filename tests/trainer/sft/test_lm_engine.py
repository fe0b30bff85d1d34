# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from areal.trainer.sft import LMEngine
from areal.utils import stats_tracker
from tests.distributed import run_ranks
from tests.trainer.fake_engine import FakeEngine
from tests.trainer.ppo.batches import trajectory


def _data():
    keep = ("input_ids", "attention_mask", "loss_mask")
    items = [trajectory([(2, 3, 0)], [0.0], seed=1), trajectory([(3, 4, 0), (0, 2, 0)], [0.0, 0.0], seed=2)]
    return [{name: item[name] for name in keep} for item in items]


def _naive_loss(table):
    """Mean of -log p over trained tokens with a predecessor, one token at a time."""
    logp, losses = table.log_softmax(-1), []
    for item in _data():
        for ids, mask in zip(item["input_ids"].tolist(), item["loss_mask"].tolist(), strict=True):
            losses += [-logp[ids[t - 1], ids[t]] for t in range(1, len(ids)) if mask[t]]
    return sum(losses) / len(losses)


def test_train_step_follows_the_gradient_of_the_naive_loss():
    stats_tracker.export()
    engine = FakeEngine(num_micro_batches=2)
    table = engine.table.detach().clone().requires_grad_()
    expected = _naive_loss(table)
    expected.backward()
    found = LMEngine(engine).train_lm(_data())
    assert found["loss"] == pytest.approx(float(expected.detach()), rel=1e-5)
    assert found["loss_weight"] == 8  # the first token of the third sequence has nothing to be predicted from (A15)
    torch.testing.assert_close(engine.table.detach(), table.detach() - engine.lr * table.grad)
    exported = stats_tracker.export()
    assert exported["sft/loss/avg"] == pytest.approx(found["loss"], rel=1e-5)
    assert exported["sft/n_seqs"] == 3 and exported["sft/n_valid_tokens"] == 8 and exported["sft/n_tokens"] == 14
    assert "sft/ppl/avg" in exported and "sft/grad_norm" in exported


def test_evaluation_returns_the_loss_and_trains_nothing():
    stats_tracker.export()
    engine = FakeEngine()
    before = engine.table.detach().clone()
    found = LMEngine(engine).evaluate_lm(_data())
    expected = float(_naive_loss(before))
    assert found == {"loss": pytest.approx(expected, rel=1e-5), "ppl": pytest.approx(math.exp(expected), rel=1e-5)}
    assert torch.equal(engine.table.detach(), before) and engine.modes == ["eval"]
    assert stats_tracker.export()["sft-eval/loss/avg"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("num_micro_batches", [2, 3])
def test_train_step_does_not_depend_on_the_cut(num_micro_batches):
    engine, whole = FakeEngine(num_micro_batches), FakeEngine()
    LMEngine(engine).train_lm(_data())
    LMEngine(whole).train_lm(_data())
    torch.testing.assert_close(engine.table, whole.table)


def _rank_train(rank: int, world_size: int):
    engine = FakeEngine()
    LMEngine(engine).train_lm([_data()[rank]])
    return engine.table.detach()


def test_train_step_does_not_depend_on_the_number_of_ranks():
    whole = FakeEngine()
    LMEngine(whole).train_lm(_data())
    for table in run_ranks(_rank_train, 2):
        torch.testing.assert_close(table, whole.table.detach())


def test_train_step_takes_one_padded_batch_too_and_leaves_it_alone():
    batch = _data()[1]
    before = batch["loss_mask"].clone()
    LMEngine(FakeEngine()).train_lm(batch)
    assert torch.equal(batch["loss_mask"], before)


def _rank_invariant(rank: int, world_size: int) -> dict[str, float]:
    LMEngine(FakeEngine(num_micro_batches=2)).train_lm([_data()[rank]])
    return stats_tracker.export_all()


def test_train_step_on_ranks_divides_by_the_trained_tokens_of_all():
    for row in run_ranks(_rank_invariant, 2):
        assert row["invariants/denominators/ok"] == 1.0 and row["invariants/denominators/rel_error"] == 0.0
