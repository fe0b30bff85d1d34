# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import itertools
import math

import pytest
import torch

from areal.api.cli_args import RejectionSamplingConfig
from areal.trainer.ppo import grpo_loss_fn, grpo_loss_weight
from areal.utils.functional import ppo_actor_loss_fn

LP = torch.tensor([-1.0, -0.5, -2.0])
OLD = torch.tensor([-1.5, -1.0, -1.0])
ADV = torch.tensor([1.0, -1.0, -1.0])
ALL = torch.ones(3, dtype=torch.bool)
E2 = math.exp(2)


def _close(actual, expected, atol=1e-4):
    torch.testing.assert_close(torch.as_tensor(actual).float(), torch.tensor(expected), atol=atol, rtol=0)


def _ppo(**settings):
    return ppo_actor_loss_fn(LP, OLD, settings.pop("old", OLD), ADV, 0.2, ALL, **settings)


def test_ppo_loss_gives_reference_vectors():
    loss, stats = _ppo()
    _close(loss, 0.41624)
    _close(stats["loss"], [-1.2, 1.64872, 0.8])
    _close(stats["importance_weight"], [1.64872, 1.64872, 0.36788])
    assert stats["clip_mask"].tolist() == [True, False, True]


def test_dual_clip_gives_reference_vectors():
    loss, stats = _ppo(c_clip=1.5)
    _close(loss, 0.36667)
    _close(stats["loss"], [-1.2, 1.5, 0.8])
    assert stats["dual_clip_mask"].tolist() == [False, True, False]


def test_sequence_level_gives_reference_vectors():
    loss, stats = _ppo(importance_sampling_level="sequence", cu_seqlens=torch.tensor([0, 3]))
    _close(loss, 1 / 3)
    _close(stats["importance_weight"], [1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("action", "expected", "weights"), [("mask", -0.13333, [1.0, 0.0, 1.0]), ("clamp", 0.96581, [1.0, 2.0, 1.0])]
)
def test_filter_at_ratio_two_gives_reference_vectors(action, expected, weights):
    config = RejectionSamplingConfig(action=action, upper=2.0)
    loss, stats = _ppo(old=torch.tensor([-1.5, -3.0, -1.0]), rejection_sampling=config)
    _close(loss, expected)
    _close(stats["behave_imp_weight"], weights)
    if action == "mask":
        _close(stats["filtered_fraction"], 1 / 3)


def test_clip_higher_moves_the_upper_bound_only():
    _, stats = _ppo(eps_clip_higher=0.28)
    _close(stats["loss"], [-1.28, 1.64872, 0.8])


def test_gspo_ratio_is_the_whole_sequences_whatever_the_filter_drops_a12():
    config = RejectionSamplingConfig(upper=2.0)
    old = torch.tensor([-1.5, -3.0, -1.0])
    _, stats = _ppo(
        old=old, rejection_sampling=config, importance_sampling_level="sequence", cu_seqlens=torch.tensor([0, 3])
    )
    _close(stats["importance_weight"], [1.0, 1.0, 1.0])


def test_sequence_reduction_weighs_a_long_answer_like_a_short_one_a12():
    lp = torch.zeros(5)
    adv, mask = torch.tensor([1.0, 1.0, 1.0, 1.0, -3.0]), torch.ones(5, dtype=torch.bool)
    cu_seqlens = torch.tensor([0, 4, 5])
    batch = {"loss_mask": mask, "logprobs": lp, "advantages": adv, "cu_seqlens": cu_seqlens}
    by_sequence, _ = grpo_loss_fn(lp, lp, batch, 0.2, importance_sampling_level="sequence")
    by_token, _ = grpo_loss_fn(lp, lp, batch, 0.2)
    _close(by_sequence, (-1 + 3) / 2)
    _close(by_token, (-4 + 3) / 5)
    assert int(grpo_loss_weight(batch, "sequence")) == 2
    assert int(grpo_loss_weight(batch)) == 5


def _grpo(old=(-1.0, -1.0, -1.0, -3.0), **settings):
    logprobs = torch.full((4,), -1.0, requires_grad=True)
    batch = {
        "loss_mask": torch.ones(4),
        "logprobs": torch.tensor(old),
        "prox_logp": torch.full((4,), -1.0),
        "advantages": torch.ones(4),
        "cu_seqlens": torch.tensor([0, 4], dtype=torch.int32),
    }
    loss, _ = grpo_loss_fn(logprobs, torch.zeros(4), batch, 0.2, use_decoupled_loss=True, **settings)
    loss.backward()
    return loss.detach(), logprobs.grad


@pytest.mark.parametrize(
    ("config", "loss", "grad"),
    [
        (RejectionSamplingConfig(upper=2.0), -0.75, [-0.25, -0.25, -0.25, 0.0]),
        (RejectionSamplingConfig(level="sequence", upper=2.0), -1.64872, [-0.41218] * 4),
        (RejectionSamplingConfig(action="clamp", upper=2.0), -1.25, [-0.25, -0.25, -0.25, -0.5]),
    ],
)
def test_grpo_gradients_with_a_filter_give_reference_vectors(config, loss, grad):
    found, found_grad = _grpo(rejection_sampling=config)
    _close(found, loss)
    _close(found_grad, grad)


def test_decoupled_loss_without_filter_keeps_the_importance_factor_a3():
    loss, grad = _grpo()  # the reference: loss -1, gradient -0.25 each, although the last token is e^2 off-policy
    _close(loss, -(3 + E2) / 4)
    _close(grad, [-0.25, -0.25, -0.25, -E2 / 4])


def test_importance_factor_can_be_left_out_with_a_filter_a3():
    config = RejectionSamplingConfig(upper=2.0)
    loss, _ = _ppo(old=torch.tensor([-1.1, -3.0, -1.0]), rejection_sampling=config, use_behave_weight=False)
    _close(loss, (-1.2 + 0.8) / 3)


def test_reused_log_probs_have_ratio_exactly_one():
    logprobs = torch.tensor([-1.0, -2.0], requires_grad=True)
    batch = {"loss_mask": torch.ones(2), "logprobs": torch.tensor([-1.0, -1.5]), "advantages": torch.ones(2)}
    loss, stats = grpo_loss_fn(
        logprobs, torch.zeros(2), batch, 0.2, use_decoupled_loss=True, prox_logp_method="reuse_train_logp"
    )
    loss.backward()
    assert stats["importance_weight"].tolist() == [1.0, 1.0]
    _close(logprobs.grad, [-0.5, -0.5 * math.exp(-0.5)])


def test_decoupled_loss_without_proximal_log_probs_is_refused():
    batch = {"loss_mask": torch.ones(1), "logprobs": torch.zeros(1), "advantages": torch.ones(1)}
    with pytest.raises(ValueError, match="prox_logp"):
        grpo_loss_fn(torch.zeros(1), torch.zeros(1), batch, 0.2, use_decoupled_loss=True)


def test_float_mask_and_wrong_settings_are_refused():
    with pytest.raises(TypeError, match="bool"):
        ppo_actor_loss_fn(LP, OLD, OLD, ADV, 0.2, ALL.float())
    with pytest.raises(ValueError, match="importance_sampling_level"):
        _ppo(importance_sampling_level="turn")
    with pytest.raises(ValueError, match="c_clip > 1"):
        _ppo(c_clip=1.0)
    with pytest.raises(ValueError, match="cu_seqlens"):
        _ppo(importance_sampling_level="sequence")


def test_masked_positions_may_hold_anything():
    lp = torch.tensor([-1.0, -math.inf, math.nan], requires_grad=True)
    mask = torch.tensor([True, False, False])
    loss, stats = ppo_actor_loss_fn(lp, torch.tensor([-1.0, 0.0, 0.0]), OLD, ADV, 0.2, mask)
    loss.backward()
    assert loss.isfinite() and lp.grad[1:].tolist() == [0.0, 0.0]
    assert int(stats["n_total_tokens"]) == 1


def test_nothing_to_train_gives_zero_loss():
    loss, _ = ppo_actor_loss_fn(LP, OLD, OLD, ADV, 0.2, ~ALL)
    assert float(loss) == 0.0


def _naive(lp, prox, old, adv, mask, cu, level, eps, eps_high, c_clip, config):
    """The objective token by token, written down as in the papers."""
    total, count = 0.0, 0
    for start, end in itertools.pairwise(cu):
        idx = [t for t in range(start, end) if mask[t]]
        if not idx:
            continue
        per_seq = 0.0
        for t in idx:
            ratio = (lp[t] - prox[t]).exp()
            a, w = adv[t], (prox[t] - old[t]).exp()
            if level == "sequence":
                ratio = (sum(lp[s] - prox[s] for s in idx) / len(idx)).exp()
                a = sum(adv[s] for s in idx) / len(idx)
                if config is None:
                    w = (sum(prox[s] - old[s] for s in idx) / len(idx)).exp()
            bound = min(max(ratio, torch.tensor(1 - eps)), torch.tensor(1 + eps_high))
            loss = max(-a * ratio, -a * bound)
            if c_clip:
                loss = min(loss, c_clip * abs(a))
            if config is not None:
                w = w * float(w <= config.upper) if config.action == "mask" else min(w, torch.tensor(config.upper))
            per_seq = per_seq + w * loss
        total, count = (
            total + (per_seq if level == "token" else per_seq / len(idx)),
            count + (len(idx) if level == "token" else 1),
        )
    return total / count


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("c_clip", [None, 1.3])
@pytest.mark.parametrize(
    "config", [None, RejectionSamplingConfig(upper=1.2), RejectionSamplingConfig(action="clamp", upper=1.2)]
)
def test_gradient_equals_autograd_of_the_naive_formula(level, c_clip, config):
    generator = torch.Generator().manual_seed(3)
    lp, prox, old, adv = (torch.randn(12, generator=generator) * 0.3 for _ in range(4))
    mask = torch.rand(12, generator=generator) > 0.25
    cu = torch.tensor([0, 5, 6, 12])
    ours, naive = lp.clone().requires_grad_(), lp.clone().requires_grad_()
    batch = {"loss_mask": mask, "logprobs": old, "prox_logp": prox, "advantages": adv, "cu_seqlens": cu}
    loss, _ = grpo_loss_fn(
        ours, lp, batch, 0.2, 0.28, c_clip, config, importance_sampling_level=level, use_decoupled_loss=True
    )
    expected = _naive(naive, prox, old, adv, mask, cu.tolist(), level, 0.2, 0.28, c_clip, config)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, naive.grad)
