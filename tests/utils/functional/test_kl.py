# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from areal.utils.functional import KLEstimator

LP, BASE = torch.tensor([-1.0, -30.0]), torch.tensor([-2.0, -1.0])


@pytest.mark.parametrize(("kind", "expected"), [("k1", [1.0, -10.0]), ("k2", [0.5, 10.0]), ("k3", [0.367879, 10.0])])
def test_kl_estimators_give_reference_vectors(kind, expected):
    torch.testing.assert_close(KLEstimator(kind)(LP, BASE), torch.tensor(expected))


def test_kl_without_clamp_keeps_large_values():
    assert float(KLEstimator("k1", apply_clamp=False)(LP, BASE)[1]) == -29.0


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_kl_estimate_of_samples_from_p_is_unbiased(kind):
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.4, 0.4, 0.2])
    exact = (p * (p / q).log()).sum()
    torch.testing.assert_close((p * KLEstimator(kind)(p.log(), q.log())).sum(), exact)


def test_unknown_estimator_is_refused():
    with pytest.raises(ValueError, match="k1"):
        KLEstimator("k4")
