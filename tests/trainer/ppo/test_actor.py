# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import copy

import pytest
import torch

from areal.trainer.ppo import PPOActor
from areal.utils import stats_tracker
from areal.utils.errors import ConfigError
from tests.distributed import run_ranks
from tests.trainer.fake_engine import FakeEngine
from tests.trainer.ppo.batches import actor_config, grpo_config, trajectory


@pytest.fixture(autouse=True)
def _clean_stats():
    stats_tracker.export()
    yield
    stats_tracker.export()


def _data(versions=0):
    return [
        trajectory([(2, 3, 0), (2, 5, 0)], [1.0, 0.0], versions=versions, seed=1),
        trajectory([(3, 4, 1), (3, 2, 0), (3, 1, 0)], [0.0, 1.0, 1.0], versions=versions, seed=2),
        trajectory([(1, 2, 0), (1, 4, 0)], [1.0, 1.0], versions=versions, truncated=[False, True], seed=3),
    ]


def _update(engine, data=None, **settings):
    actor = PPOActor(grpo_config(**settings), engine)
    data = _data(engine.version) if data is None else data
    if actor.config.should_compute_prox_logp():
        data = [{**t, "prox_logp": logp} for t, logp in zip(data, actor.compute_logp(data), strict=True)]
    return actor.ppo_update(actor.compute_advantages(data))


VARIANTS = {
    "grpo": {},
    "dapo": {"eps_clip_higher": 0.28, "c_clip": 3.0},
    "gspo": {"importance_sampling_level": "sequence"},
    "decoupled": {"use_decoupled_loss": True},
    "reuse": {"use_decoupled_loss": True, "prox_logp_method": "reuse_train_logp"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_update_is_the_same_for_any_micro_batch_split(name):
    tables = []
    for num_micro_batches in (1, 3, 7):
        engine = FakeEngine(num_micro_batches)
        _update(engine, **VARIANTS[name])
        tables.append(engine.table.detach())
    torch.testing.assert_close(tables[1], tables[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(tables[2], tables[0], atol=1e-6, rtol=1e-5)
    assert not torch.equal(tables[0], FakeEngine().table)


@pytest.mark.parametrize("name", VARIANTS)
def test_update_is_the_same_padded_or_packed(name):
    packed, padded = FakeEngine(), FakeEngine(is_packed=False)
    _update(packed, **VARIANTS[name])
    _update(padded, **VARIANTS[name])
    torch.testing.assert_close(padded.table, packed.table, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_update_is_the_same_for_any_sample_order(name):
    straight, reversed_ = FakeEngine(), FakeEngine()
    _update(straight, **VARIANTS[name])
    backwards = [{k: v.flip(0) for k, v in t.items()} for t in reversed(_data())]
    _update(reversed_, data=backwards, **VARIANTS[name])
    torch.testing.assert_close(reversed_.table, straight.table, atol=1e-6, rtol=1e-5)


def _rank_update(rank: int, world_size: int, settings: dict, shares: list[list[int]]):
    engine, data = FakeEngine(num_micro_batches=2), _data()
    stats = _update(engine, [data[i] for i in shares[rank]], **settings)
    exported = stats_tracker.export(reduce_group=engine.data_parallel_group)
    return engine.table.detach(), stats, exported


@pytest.mark.parametrize("name", ["gspo", "decoupled"])
def test_update_is_the_same_for_any_data_parallel_size(name):
    engine = FakeEngine()
    alone = _update(engine, **VARIANTS[name])
    exported_alone = stats_tracker.export()
    for table, stats, exported in run_ranks(_rank_update, 2, VARIANTS[name], [[0, 2], [1]]):
        torch.testing.assert_close(table, engine.table.detach(), atol=1e-6, rtol=1e-5)
        assert stats["loss_weight"] == alone["loss_weight"] == stats["expected_loss_weight"]
        for key in ("ppo_actor/n_valid_tokens", "ppo_actor/task_reward/avg", "ppo_actor/task_reward/sem"):
            assert exported[key] == pytest.approx(exported_alone[key])


@pytest.mark.parametrize("num_minibatches", [1, 2, 3])
def test_loss_weights_of_all_minibatches_add_up_to_the_trained_tokens(num_minibatches):
    stats = _update(FakeEngine(num_micro_batches=2), ppo_n_minibatches=num_minibatches)
    num_tokens = sum(int(t["loss_mask"].sum()) for t in _data())
    assert stats["loss_weight"] == stats["expected_loss_weight"] == num_tokens
    exported = stats_tracker.export()
    assert exported["invariants/denominators/rel_error"] == 0.0
    assert exported["invariants/denominators/ok"] == 1.0


def test_minibatches_are_one_optimizer_step_each():
    engine = FakeEngine()
    stats = _update(engine, ppo_n_minibatches=3)
    assert len(engine.batches) == 3
    assert stats["num_micro_batches"] == 3
    assert stats["lr"] == engine.lr and stats["grad_norm"] > 0 and stats["update_successful"] == 1


def test_more_minibatches_than_samples_are_refused():
    with pytest.raises(ConfigError, match="ppo_n_minibatches"):
        _update(FakeEngine(), ppo_n_minibatches=8)


def test_update_raises_the_probability_of_rewarded_answers():
    engine, data = FakeEngine(lr=0.2), _data()[:1]
    actor = PPOActor(grpo_config(), engine)
    before = actor.compute_logp(data)[0]
    data[0]["logprobs"][:, 1:] = before[:, :-1] * data[0]["loss_mask"][:, 1:]
    batch = actor.compute_advantages(data)
    actor.ppo_update(batch)
    gain = ((actor.compute_logp(data)[0] - before) * batch[0]["loss_mask"]).sum(1)
    assert gain[0] > 0 > gain[1]


def test_group_of_equal_rewards_has_no_gradient_but_stays_in_the_denominator():
    engine = FakeEngine()
    before = engine.table.detach().clone()
    stats = _update(engine, data=_data()[2:])
    assert torch.equal(engine.table.detach(), before)
    assert stats["loss_weight"] == 6
    exported = stats_tracker.export()
    assert exported["ppo_actor/zero_variance_groups"] == 1
    assert exported["rollout/zero_variance_share"] == 1.0


def test_steps_leave_the_trajectories_they_are_given_alone():
    data = _data()
    before = copy.deepcopy(data)
    _update(FakeEngine(), data=data)
    for now, then in zip(data, before, strict=True):
        assert now.keys() == then.keys()
        assert all(torch.equal(now[name], then[name]) for name in then)


def test_engine_gets_only_tensors_it_can_split_by_token_b7():
    engine = FakeEngine()
    _update(engine)
    assert all(value.ndim == 2 for value in engine.batches[0].values())
    assert {"advantages", "loss_mask", "logprobs", "prox_logp", "versions"} < engine.batches[0].keys()


def test_engine_is_in_evaluation_mode_for_log_probs_and_in_training_mode_for_updates():
    engine = FakeEngine()
    _update(engine, use_decoupled_loss=True)
    assert engine.modes == ["eval", "train"]


def test_batch_statistics_count_tokens_and_sequences():
    _update(FakeEngine())
    found = stats_tracker.export()
    assert found["ppo_actor/n_seqs"] == 7
    assert found["ppo_actor/correct_n_seqs"] == 5 and found["ppo_actor/incorrect_n_seqs"] == 2
    assert found["ppo_actor/n_tokens"] == 37 and found["ppo_actor/n_valid_tokens"] == 21
    assert found["ppo_actor/task_reward/avg"] == pytest.approx(5 / 7)
    assert found["ppo_actor/task_reward/sem"] == pytest.approx((5 / 7 * 2 / 7 / 6) ** 0.5)
    assert found["ppo_actor/seq_len/max"] == 8
    assert found["ppo_actor/no_eos_ratios/avg"] == pytest.approx(1 / 7)
    assert found["rollout/truncated_share"] == pytest.approx(1 / 7)
    assert found["ppo_actor/update/n_valid_tokens"] == 21
    for key in ("importance_weight", "approx_kl", "entropy", "actor_loss", "clip_ratio", "new_logp", "old_logp"):
        assert f"ppo_actor/update/{key}/avg" in found
    assert found["ppo_actor/update/grad_norm"] > 0 and found["ppo_actor/update/lr"] == 0.5


def test_dummy_of_a_rank_without_work_is_not_counted():
    dummy = trajectory([(1, 0, 0)], [0.0])
    _update(FakeEngine(), data=[*_data(), dummy])
    found = stats_tracker.export()
    assert found["ppo_actor/n_seqs"] == 7
    assert found["ppo_actor/task_reward/avg"] == pytest.approx(5 / 7)


def test_staleness_is_trainer_version_minus_token_version_a6():
    data = _data(versions=3)
    data[0]["versions"][data[0]["versions"] >= 0] = 5
    _update(FakeEngine(version=5), data=data)
    found = stats_tracker.export()
    scope = "ppo_actor/update/version_stats"
    assert found[f"{scope}/sample_staleness_proximal_avg"] == pytest.approx(2 * 13 / 21)
    assert found[f"{scope}/sample_staleness_proximal_min"] == 0.0
    assert found[f"{scope}/sample_staleness_proximal_max"] == found["rollout/lag_max"] == 2.0
    assert found["rollout/lag_mean"] == pytest.approx(2 * 13 / 21)


@pytest.mark.parametrize("name", ["grpo", "decoupled", "reuse"])
def test_mismatch_compares_fresh_tokens_of_both_engines(name):
    engine, data = FakeEngine(version=2), _data(versions=2)
    for t, logp in zip(data, engine.forward_batch(data), strict=True):
        t["logprobs"][:, 1:] = (logp[:, :-1] - 0.1) * t["loss_mask"][:, 1:]
    data[1]["versions"] -= 1  # stale: a difference here is policy lag, not a mismatch
    data[1]["logprobs"] -= 1.0
    _update(engine, data=data, **VARIANTS[name])
    found = stats_tracker.export()
    assert found["invariants/logprobs/n_tokens"] == 14
    assert found["invariants/logprobs/max_abs_diff"] == pytest.approx(0.1, abs=1e-5)
    assert found["invariants/logprobs/mismatch_kl"] == pytest.approx(0.005171, abs=1e-5)
    assert found["invariants/logprobs/mismatch_kl_k1"] == pytest.approx(-0.1, abs=1e-5)


def test_mismatch_without_recomputed_log_probs_is_measured_before_the_first_step_only():
    engine, data = FakeEngine(lr=50.0), _data()
    for t, logp in zip(data, engine.forward_batch(data), strict=True):
        t["logprobs"][:, 1:] = logp[:, :-1] * t["loss_mask"][:, 1:]
    _update(engine, data=data, ppo_n_minibatches=3)
    assert stats_tracker.export()["invariants/logprobs/max_abs_diff"] < 1e-6


def test_reused_log_probs_give_ratio_one_over_the_whole_batch():
    _update(FakeEngine(num_micro_batches=2), **VARIANTS["reuse"])
    found = stats_tracker.export()
    assert found["ppo_actor/update/importance_weight/min"] == found["ppo_actor/update/importance_weight/max"] == 1.0
    assert "ppo_actor/update/behave_imp_weight/avg" in found


def test_algorithm_that_would_train_something_else_is_refused_at_construction_a8():
    from areal.api.cli_args import NormConfig

    with pytest.raises(ConfigError, match="RLOO"):
        PPOActor(actor_config(adv_norm=NormConfig("group", True, None)), FakeEngine())
