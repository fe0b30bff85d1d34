# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch import nn

from areal.api.cli_args import OptimizerConfig
from areal.engine.core.optim import OptimizerSet, build_optimizers, clip_gradients
from areal.utils.errors import ConfigError


def tiny_module() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"embed": nn.Embedding(5, 4), "hidden": nn.Linear(4, 4), "norm": nn.LayerNorm(4)})


def set_gradients(module: nn.Module, value: float) -> None:
    for param in module.parameters():
        param.grad = torch.full_like(param, value)


def test_clip_gradients_norm_above_the_bound_is_scaled_to_it():
    grads = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    assert clip_gradients(grads, 1.0) == pytest.approx(5.0)
    torch.testing.assert_close(grads[0], torch.tensor([0.6, 0.0]))
    torch.testing.assert_close(grads[1], torch.tensor([[0.8]]))


def test_clip_gradients_norm_below_the_bound_changes_nothing():
    grads = [torch.tensor([3.0, 4.0])]
    assert clip_gradients(grads, 6.0) == pytest.approx(5.0)
    assert grads[0].tolist() == [3.0, 4.0]


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_clip_gradients_not_finite_are_left_alone(value: float):
    grads = [torch.tensor([1.0, value])]
    assert not math.isfinite(clip_gradients(grads, 1.0))
    assert grads[0][0] == 1.0


def test_clip_gradients_without_any_gradient_is_zero():
    assert clip_gradients([], 1.0) == 0.0


def test_step_adam_first_update_moves_by_the_learning_rate():
    # Adam's first update is lr * g / (|g| + eps), weight decay is decoupled: w - lr * (wd * w + sign g).
    module = tiny_module()
    config = OptimizerConfig(lr=0.1, weight_decay=0.5, warmup_steps=0, gradient_clipping=1e9)
    optimizers = OptimizerSet(config, module, set(), 10)
    before = module["hidden"].weight.detach().clone()
    set_gradients(module, 2.0)
    result = optimizers.step()
    torch.testing.assert_close(module["hidden"].weight, before - 0.1 * (0.5 * before + 1.0), rtol=0.0, atol=1e-6)
    assert (result.successful, result.lr) == (True, 0.1)
    assert all(param.grad is None for param in module.parameters())


def test_step_sgd_momentum_is_beta1():
    module = nn.Linear(1, 1, bias=False)
    config = OptimizerConfig(type="sgd", lr=1.0, beta1=0.5, weight_decay=0.0, warmup_steps=0, gradient_clipping=1e9)
    optimizers = OptimizerSet(config, module, set(), 10)
    before = float(module.weight.detach())
    for _ in range(2):
        set_gradients(module, 1.0)
        optimizers.step()
    assert float(module.weight.detach()) == pytest.approx(before - 1.0 - 1.5)


def test_step_not_finite_skips_counts_and_continues():
    module = tiny_module()
    optimizers = OptimizerSet(OptimizerConfig(warmup_steps=0), module, set(), 10)
    before = module["hidden"].weight.detach().clone()
    set_gradients(module, math.nan)
    assert not optimizers.step().successful
    assert torch.equal(module["hidden"].weight, before)
    set_gradients(module, 1.0)
    assert optimizers.step().successful
    assert optimizers.num_skipped == 1


def test_build_optimizers_muon_takes_the_hidden_matrices_alone():
    module = tiny_module()
    muon, adamw = build_optimizers(OptimizerConfig(type="muon", beta1=0.8), module, {"hidden.weight"})
    assert isinstance(muon, torch.optim.Muon) and isinstance(adamw, torch.optim.AdamW)
    assert [param is module["hidden"].weight for param in muon.param_groups[0]["params"]] == [True]
    assert len(adamw.param_groups[0]["params"]) == 4
    assert muon.param_groups[0]["momentum"] == 0.8


def test_build_optimizers_muon_without_matrices_raises():
    with pytest.raises(ConfigError, match="found none; use type=adam"):
        build_optimizers(OptimizerConfig(type="muon"), tiny_module(), set())
