# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from areal.api.cli_args import RejectionSamplingConfig
from areal.utils.functional import apply_rejection_sampling

# d = log prox - log behave of two packed sequences: [0, 0, 0, 2] and [-1, 1]
PROX = torch.tensor([-1.0, -1.0, -1.0, -1.0, -2.0, -1.0])
BEHAVE = torch.tensor([-1.0, -1.0, -1.0, -3.0, -1.0, -2.0])
MASK = torch.ones(6, dtype=torch.bool)
CU = torch.tensor([0, 4, 6], dtype=torch.int32)
E = math.e


def _run(mask=MASK, **config):
    return apply_rejection_sampling(PROX, BEHAVE, mask, CU, RejectionSamplingConfig(**config))


def test_token_mask_on_the_ratio_drops_outliers_and_weighs_the_rest():
    result = _run(upper=2.0, lower=0.5)
    assert result.loss_mask.tolist() == [True, True, True, False, False, False]
    torch.testing.assert_close(result.behave_imp_weight, torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]))
    assert float(result.filtered_fraction) == pytest.approx(0.5)


def test_token_clamp_limits_the_weight_and_keeps_every_token():
    result = _run(upper=2.0, action="clamp")
    assert result.loss_mask.all()
    torch.testing.assert_close(result.behave_imp_weight, torch.tensor([1.0, 1.0, 1.0, 2.0, 1 / E, 2.0]))
    assert float(result.filtered_fraction) == pytest.approx(2 / 6)


def test_bounds_are_inclusive():
    result = apply_rejection_sampling(
        torch.tensor([0.0, 0.0]),
        torch.tensor([-1.0, 1.0]),
        MASK[:2],
        None,
        RejectionSamplingConfig(metric="kl_k1", upper=1.0, lower=-1.0),
    )
    assert result.loss_mask.all()


@pytest.mark.parametrize(("agg", "factor"), [("mean", math.exp(0.5)), ("sum", E**2), ("max", E**2)])
def test_sequence_ratio_weight_follows_agg_a13(agg, factor):
    result = _run(level="sequence", agg=agg, upper=100.0)
    torch.testing.assert_close(result.behave_imp_weight[:4], torch.full((4,), factor))
    other = {"mean": 1.0, "sum": 1.0, "max": E}[agg]
    torch.testing.assert_close(result.behave_imp_weight[4:], torch.full((2,), other))


def test_sequence_mask_drops_the_whole_sequence():
    result = _run(level="sequence", agg="sum", upper=2.0)
    assert result.loss_mask.tolist() == [False] * 4 + [True] * 2
    assert float(result.filtered_fraction) == pytest.approx(4 / 6)


def test_sequence_clamp_limits_the_common_weight():
    result = _run(level="sequence", agg="sum", upper=2.0, action="clamp")
    torch.testing.assert_close(result.behave_imp_weight, torch.tensor([2.0] * 4 + [1.0] * 2))


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("kl_k1", [0.0, 0.0, 0.0, 2.0, -1.0, 1.0]),
        ("kl_k2", [0.0, 0.0, 0.0, 2.0, 0.5, 0.5]),
        ("kl_k3", [0.0, 0.0, 0.0, 1 + math.exp(-2), E - 2, math.exp(-1)]),
    ],
)
def test_kl_metrics_by_hand_decide_at_their_value(metric, values):
    for i, value in enumerate(values):
        if value <= 0:
            continue
        assert not _run(metric=metric, upper=value - 1e-3).loss_mask[i]
        assert _run(metric=metric, upper=value + 1e-3).loss_mask[i]


def test_kl_metric_at_sequence_level_keeps_token_weights():
    result = _run(level="sequence", metric="kl_k2", agg="max", upper=1.0)
    torch.testing.assert_close(result.behave_imp_weight, torch.tensor([0.0] * 4 + [1 / E, E]))


def test_binary_kl_by_hand_is_the_larger_direction_c1():
    # p = 0.5, b = 0.1: KL(p||b) = .5 ln 5 + .5 ln(.5/.9) = 0.5108; KL(b||p) = .1 ln .2 + .9 ln 1.8 = 0.3681
    prox, behave = torch.tensor([0.5]).log(), torch.tensor([0.1]).log()

    def kept(p, b, upper):
        config = RejectionSamplingConfig(metric="binary_kl", upper=upper)
        return bool(apply_rejection_sampling(p, b, MASK[:1], None, config).loss_mask)

    assert kept(prox, behave, 0.511) and kept(behave, prox, 0.511)
    assert not kept(prox, behave, 0.510) and not kept(behave, prox, 0.510)


def test_binary_kl_of_certain_tokens_is_finite():
    config = RejectionSamplingConfig(metric="binary_kl", upper=2.0)
    result = apply_rejection_sampling(torch.tensor([0.0, -90.0]), torch.tensor([0.0, 0.0]), MASK[:2], None, config)
    assert result.loss_mask.tolist() == [True, False]


def test_padded_rows_give_the_same_as_packed_sequences():
    inside = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    prox, behave = torch.zeros(2, 4), torch.zeros(2, 4)
    prox[inside], behave[inside] = PROX, BEHAVE
    config = RejectionSamplingConfig(level="sequence", agg="max", upper=3.0)
    padded = apply_rejection_sampling(prox, behave, inside, None, config)
    packed = _run(level="sequence", agg="max", upper=3.0)
    torch.testing.assert_close(padded.behave_imp_weight[inside], packed.behave_imp_weight)
    assert torch.equal(padded.loss_mask[inside], packed.loss_mask)


def test_masked_tokens_never_count():
    mask = torch.tensor([True, True, True, False, True, True])
    result = _run(mask, level="sequence", agg="sum", upper=2.0)
    assert torch.equal(result.loss_mask, mask)
    assert result.behave_imp_weight[3] == 0


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="equal shapes"):
        apply_rejection_sampling(PROX, BEHAVE[:5], MASK, CU, RejectionSamplingConfig())


def test_packed_sequences_without_boundaries_are_refused():
    with pytest.raises(ValueError, match="cu_seqlens"):
        apply_rejection_sampling(PROX, BEHAVE, MASK, None, RejectionSamplingConfig(level="sequence"))
