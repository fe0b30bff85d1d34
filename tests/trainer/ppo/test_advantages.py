# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from areal.api.cli_args import NormConfig
from areal.trainer.ppo import compute_advantages
from areal.trainer.ppo.advantages import check_algorithm, place_on_last_trained
from areal.utils.errors import ConfigError
from tests.trainer.ppo.batches import actor_config, grpo_config, trajectory

LAYOUT = [(2, 3, 0), (2, 4, 0), (2, 3, 1)]


def _compute(data, config, sizes=None):
    return compute_advantages(data, config, sizes or [len(data["rewards"])])


def test_advantages_by_default_give_reference_vectors():
    found = _compute(trajectory(LAYOUT, [1.0, 2.0, 5.0]), actor_config(), [1, 1, 1])
    assert found["loss_mask"].tolist() == [[0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0]]
    # Rows 1 and 2 as in the reference; row 3 ends with an environment token, see the next test.
    assert found["advantages"][:2].tolist() == [[1, 1, 1, 1, 0, 0], [2, 2, 2, 2, 2, 0]]
    assert found["tot_rewards"][:2].tolist() == [[0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 2, 0]]
    for name in ("loss_mask", "logprobs", "prox_logp", "returns", "advantages", "kl_rewards", "tot_rewards"):
        assert found[name].dtype == torch.float32, name
    assert found["versions"].dtype == torch.int32


def test_reward_of_an_answer_followed_by_environment_tokens_is_not_lost_a1():
    found = _compute(trajectory(LAYOUT, [1.0, 2.0, 5.0]), actor_config(), [1, 1, 1])
    assert found["tot_rewards"][2].tolist() == [0, 0, 0, 5, 0, 0]  # the reference: 0 0 0 0 5 0, outside the mask
    assert found["advantages"][2].tolist() == [5, 5, 5, 5, 0, 0]  # the reference: all 0


def test_truncation_is_a_flag_and_not_the_width_of_the_batch_a2():
    data = trajectory(LAYOUT, [1.0, 2.0, 5.0], truncated=[True, False, False])
    found = _compute(data, actor_config(mask_no_eos_with_zero=True), [1, 1, 1])
    assert found["tot_rewards"].sum(1).tolist() == [0, 2, 5]  # the reference zeroes rows 2 and 3, which fill the width


def test_values_bootstrap_only_after_truncation_a2():
    data = trajectory([(1, 2, 0), (1, 2, 0)], [0.0, 0.0], truncated=[True, False])
    data["values"] = torch.tensor([[1.0, 1.0, 7.0], [1.0, 1.0, 7.0]])
    found = _compute(data, actor_config())
    assert found["advantages"].tolist() == [[6, 6, 0], [-1, -1, 0]]
    assert found["returns"][:, :2].tolist() == [[7, 7], [0, 0]]


def test_truncation_penalty_without_the_flag_is_refused_a2():
    data = trajectory(LAYOUT, [1.0, 2.0, 5.0])
    del data["truncated"]
    with pytest.raises(ConfigError, match="truncated"):
        _compute(data, actor_config(mask_no_eos_with_zero=True))


def test_kl_penalty_without_a_reference_is_refused_a10():
    with pytest.raises(ConfigError, match="kl_ctl needs 'ref_logp'"):
        _compute(trajectory(LAYOUT, [1.0, 2.0, 5.0]), actor_config(kl_ctl=0.1))


def test_kl_penalty_by_hand_is_added_to_each_trained_token():
    data = trajectory([(1, 2, 0)], [1.0])
    data["logprobs"] = torch.tensor([[0.0, -1.0, -2.0]])
    data["ref_logp"] = torch.tensor([[-1.5, -1.0, -99.0]])
    found = _compute(data, actor_config(kl_ctl=0.1))
    torch.testing.assert_close(found["kl_rewards"], torch.tensor([[-0.05, 0.1, 0.0]]))
    torch.testing.assert_close(found["advantages"], torch.tensor([[1.05, 1.1, 0.0]]))


def test_kl_penalty_compares_log_probs_of_the_same_engine_a11():
    data = trajectory([(1, 2, 0)], [0.0])
    data["ref_logp"] = torch.tensor([[-1.0, -1.0, -99.0]])
    data["prox_logp"] = torch.tensor([[-1.0, -1.0, -7.0]])
    found = _compute(data, actor_config(kl_ctl=0.1, use_decoupled_loss=True))
    assert not found["kl_rewards"].any()  # whatever the inference engine reported


def test_first_token_in_the_loss_mask_does_not_wrap_round_a15():
    data = trajectory([(0, 3, 0), (0, 2, 0)], [1.0, 1.0])
    found = _compute(data, actor_config())
    assert found["loss_mask"].tolist() == [[1, 1, 0], [1, 0, 0]]
    assert not found["logprobs"][:, -1].any()


def test_versions_move_with_the_tokens_they_belong_to_a6():
    data = trajectory([(1, 3, 1)], [1.0])
    data["versions"] = torch.tensor([[-1, 4, 4, 5, -1]], dtype=torch.int32)
    assert _compute(data, actor_config())["versions"].tolist() == [[4, 4, 5, -1, -1]]


def test_task_reward_is_not_changed_by_the_overlong_penalty_a16():
    data = trajectory([(2, 10, 0), (2, 8, 0), (2, 6, 0)], [1.0, 1.0, 1.0])
    config = actor_config(
        overlong_reward_penalty=True, overlong_tokens=4, overlong_penalty_factor=1.0, max_new_tokens=10
    )
    before = {name: value.clone() for name, value in data.items()}
    found = _compute(data, config)
    assert found["shaped_rewards"].tolist() == [0.0, 0.5, 1.0]
    assert all(torch.equal(data[name], before[name]) for name in before) and data.keys() == before.keys()


def test_recomputed_log_probs_replace_the_servers_without_decoupling():
    data = trajectory([(1, 2, 0)], [1.0])
    data["prox_logp"] = torch.tensor([[-0.5, -0.25, -99.0]])
    found = _compute(data, actor_config(recompute_logprob=True))
    assert found["logprobs"].tolist() == [[-0.5, -0.25, 0.0]]
    assert found["prox_logp"].tolist() == [[-0.5, -0.25, 0.0]]


@pytest.mark.parametrize("mode", ["recompute_logprob", "use_decoupled_loss"])
def test_missing_proximal_log_probs_are_refused(mode):
    with pytest.raises(ConfigError, match=mode):
        _compute(trajectory(LAYOUT, [1.0, 2.0, 5.0]), actor_config(**{mode: True}))


def test_reused_log_probs_leave_the_proximal_policy_to_the_update():
    config = actor_config(use_decoupled_loss=True, prox_logp_method="reuse_train_logp")
    assert "prox_logp" not in _compute(trajectory(LAYOUT, [1.0, 2.0, 5.0]), config)


def test_group_with_a_missing_member_is_normalised_by_its_actual_members():
    data = trajectory([(1, 2, 0)] * 5, [1.0, 0.0, 1.0, 3.0, 5.0])
    found = _compute(data, grpo_config(), [2, 3])
    scores = found["advantages"][:, 0]
    torch.testing.assert_close(scores, torch.tensor([0.7071, -0.7071, -1.0, 0.0, 1.0]), atol=1e-4, rtol=0)


def test_group_of_equal_rewards_gives_exactly_zero_advantage():
    found = _compute(trajectory([(1, 2, 0)] * 4, [0.1, 0.1, 0.1, 0.1]), grpo_config())
    assert not found["advantages"].any()


RECIPES = {
    "GRPO": ({"reward_norm": NormConfig("group", False, "group")}, [-0.5, -0.5, -0.5, 1.5]),
    "Dr.GRPO": ({"reward_norm": NormConfig("group", False, None)}, [-1.0, -1.0, -1.0, 3.0]),
    "RLOO": ({"reward_norm": NormConfig("group", True, None)}, [-4 / 3, -4 / 3, -4 / 3, 4.0]),
    "LitePPO": ({"reward_norm": NormConfig("group", False, "batch")}, [-0.5, -0.5, -0.5, 1.5]),
    "REINFORCE++": ({"adv_norm": NormConfig("batch", False, "batch", std_unbiased=False)}, [-0.577] * 3 + [1.732]),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_gives_the_advantages_of_its_paper(name):
    settings, expected = RECIPES[name]
    found = _compute(trajectory([(1, 1, 0)] * 4, [0.0, 0.0, 0.0, 4.0]), actor_config(**settings))
    torch.testing.assert_close(found["advantages"][:, 0], torch.tensor(expected), atol=1e-3, rtol=0)


def test_leave_one_out_of_single_tokens_is_refused_a8():
    with pytest.raises(ConfigError, match="reward_norm"):
        check_algorithm(actor_config(adv_norm=NormConfig("group", True, None)))


def test_outcome_of_a_row_without_trained_tokens_goes_nowhere():
    placed = place_on_last_trained(torch.tensor([3.0, 4.0]), torch.tensor([[0, 0, 0], [1, 1, 0]]).bool())
    assert placed.tolist() == [[0, 0, 0], [0, 4, 0]]


def test_row_without_trained_tokens_does_not_shift_the_batch_mean():
    config = actor_config(reward_norm=NormConfig("batch", False, None))
    found = _compute(trajectory([(1, 1, 0), (1, 1, 0), (1, 0, 0)], [1.0, 3.0, 0.0]), config, [1, 1, 1])
    assert found["advantages"][:, 0].tolist() == [-1.0, 1.0, 0.0]
