# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""8-bit products: which layers have them, what they compute (emulated on CPU), in which layouts, and what is refused."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from areal.experimental.models.archon.model_args import DecoderArgs, ExpertArgs, FeedForwardArgs, RopeArgs
from areal.experimental.models.archon.parallel.activation import ActivationCheckpointConfig
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.fp8 import Fp8Config, apply_fp8, eligible_projections
from areal.experimental.models.archon.parallel.parallelize import parallelize_decoder
from areal.experimental.models.archon.parallel.scoring import ScoringDecoder
from areal.utils.errors import ConfigError
from tests.distributed import run_ranks
from tests.experimental.models.archon.parallel.cases import (
    ATTENTION,
    CRITIC,
    DENSE,
    EXPERTS,
    LAYER,
    MIXERS,
    loss_of,
    make_batch,
    make_model,
    parallel_step,
)

HEAD_DIM = 16
WIDE_ATTENTION = replace(ATTENTION, head_dim=HEAD_DIM, value_head_dim=HEAD_DIM)
WIDE_LAYER = replace(LAYER, mixer=WIDE_ATTENTION, ffn=FeedForwardArgs(intermediate_size=64))
WIDE_EXPERTS = replace(
    EXPERTS,
    experts=ExpertArgs(intermediate_size=16),
    shared=replace(EXPERTS.shared, feed_forward=FeedForwardArgs(intermediate_size=32)),
)
WIDE = replace(
    DENSE,
    hidden_size=32,
    layers=(WIDE_LAYER, replace(WIDE_LAYER, ffn=WIDE_EXPERTS)),
    ropes={"default": RopeArgs(theta=10000.0, rotary_dim=HEAD_DIM)},
)
"""Every dimension of a projection, cut by tp = 2 or not, is a multiple of 16."""
ONE = ArchonParallelDims()
EMULATED = Fp8Config(emulate=True)
ATTENTION_NAMES = {f"layers.{layer}.attention.{name}" for layer in (0, 1) for name in ("wq", "wk", "wv", "wo")}


@pytest.fixture
def torchao() -> Any:
    return pytest.importorskip("torchao.float8", reason="8-bit products are torchao's; install the extra fp8")


def eligible(args: DecoderArgs, *exclude: str, **sizes: int) -> set[str]:
    with torch.device("meta"):
        model = ScoringDecoder(args)
    world_size = sizes.get("tp", 1)
    return set(eligible_projections(model, ArchonParallelDims(**sizes, world_size=world_size), exclude))


def test_eligible_are_projections_but_not_heads_routers_and_experts() -> None:
    feed_forwards = {
        f"layers.{name}.{w}" for name in ("0.feed_forward", "1.moe.shared_experts") for w in ("w1", "w2", "w3")
    }
    assert eligible(WIDE) == eligible(WIDE, tp=2) == ATTENTION_NAMES | feed_forwards
    assert eligible(replace(WIDE, is_critic=True)) == ATTENTION_NAMES | feed_forwards


def test_eligible_dimension_that_is_no_multiple_of_16_leaves_the_layer_out() -> None:
    assert eligible(CRITIC) == ATTENTION_NAMES  # feed-forwards are 24 wide
    assert eligible(MIXERS) == {"layers.1.attention.wo"}  # 4 heads of 4; DeltaNet has no such roles


def test_eligible_excluded_parts_of_names_are_left_out() -> None:
    assert eligible(WIDE, "layers.1", "feed_forward", "wo", "w") == {f"layers.0.attention.w{x}" for x in "qkv"}


def test_eligible_part_of_a_rank_that_does_not_fit_is_refused_with_both_shapes() -> None:
    with pytest.raises(ConfigError, match=r"got \[8, 16\] of \[16, 16\] for layers\.0\.attention\.wk with tp = 2"):
        eligible(DENSE, tp=2)
    assert "layers.0.attention.wk" not in eligible(DENSE, "attention", tp=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_apply_other_precision_than_bfloat16_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ConfigError, match=f"bfloat16 with fp8, got {dtype}"):
        apply_fp8(make_model(WIDE), ONE, EMULATED, dtype)


def test_apply_on_a_device_without_fp8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"capability 8\.9 or later.*got device cpu.*emulate=true"):
        apply_fp8(make_model(WIDE), ONE, Fp8Config(), torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA A100")
    with pytest.raises(ConfigError, match=r"got NVIDIA A100 of capability 8\.0"):
        apply_fp8(make_model(WIDE), replace(ONE, device_type="cuda"), Fp8Config(), torch.bfloat16)


def test_apply_without_torchao_is_refused_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.float8", None)
    with pytest.raises(ConfigError, match=r"torchao.*pip install 'areal\[fp8\]'"):
        apply_fp8(make_model(WIDE), ONE, EMULATED, torch.bfloat16)


def test_unknown_recipe_is_refused() -> None:
    with pytest.raises(ConfigError, match="got 'blockwise'"):
        Fp8Config(recipe="blockwise")  # type: ignore[arg-type]


def rounded(x: Tensor, dim: int, dtype: torch.dtype = torch.float8_e4m3fn) -> Tensor:
    """As torchao's rowwise recipe: one scale along `dim`, the largest power of two that keeps all entries finite."""
    scale = torch.finfo(dtype).max / x.float().abs().amax(dim, keepdim=True)
    scale = torch.exp2(scale.log2().floor())
    return (x.float() * scale).to(dtype).float() / scale


def test_projection_multiplies_operands_rounded_by_row(torchao: Any) -> None:
    model = make_model(WIDE).to(torch.bfloat16)
    apply_fp8(model, ONE, EMULATED, torch.bfloat16)
    linear = model.get_submodule("layers.0.feed_forward.w1")
    assert isinstance(linear, nn.Linear)
    generator = torch.Generator().manual_seed(1)
    x_NE = torch.randn(24, 32, generator=generator).bfloat16().requires_grad_()
    grad_NI = torch.randn(24, 64, generator=generator).bfloat16()
    linear(x_NE).backward(grad_NI)
    x, weight = x_NE.detach(), linear.weight.detach()
    expected = rounded(x, 1) @ rounded(weight, 1).T
    torch.testing.assert_close(linear(x), expected.bfloat16())
    assert not torch.equal(linear(x), x @ weight.T)
    torch.testing.assert_close(x_NE.grad, (rounded(grad_NI, 1) @ rounded(weight, 0)).bfloat16())
    torch.testing.assert_close(linear.weight.grad, (rounded(grad_NI, 0).T @ rounded(x, 0)).bfloat16())


@pytest.mark.parametrize("recipe", ["tensorwise", "rowwise", "rowwise_with_gw_hp"])
def test_model_keeps_its_parameters_and_scores_nearly_the_same(torchao: Any, recipe: Any) -> None:
    plain, model = (make_model(WIDE).to(torch.bfloat16) for _ in range(2))
    before = dict(model.named_parameters())
    config = Fp8Config(recipe=recipe, emulate=True)
    assert parallelize_decoder(model, ONE, fp8_config=config) is model
    after = dict(model.named_parameters())
    assert list(after) == list(plain.state_dict()) == list(model.state_dict())
    assert all(after[name] is before[name] for name in before)
    losses = [loss_of(m, make_batch(0)) for m in (plain, model)]
    torch.stack(losses).sum().backward()
    assert losses[0].item() != losses[1].item()
    torch.testing.assert_close(losses[1], losses[0], rtol=0.02, atol=0.0)
    got, expected = (torch.cat([p.grad.flatten().float() for p in m.parameters()]) for m in (model, plain))
    # An operand is off by 3 % and bfloat16 alone is by 3 % here: 14 projections in a row add up to a fifth.
    assert 0.0 < float((got - expected).norm() / expected.norm()) < 0.3


@pytest.mark.parametrize("mode", ["full", "selective"])
def test_model_recomputed_gives_the_same_bits(torchao: Any, mode: Any) -> None:
    gradients = []
    for ac_config in (None, ActivationCheckpointConfig(mode=mode)):
        model = make_model(WIDE).to(torch.bfloat16)
        parallelize_decoder(model, ONE, ac_config=ac_config, fp8_config=EMULATED)
        loss_of(model, make_batch(0)).backward()
        gradients.append([param.grad for param in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("sizes", [{"tp": 2}, {"cp": 2}], ids=str)
def test_step_of_two_ranks_is_near_that_of_one(torchao: Any, sizes: dict[str, int]) -> None:
    """Cut by tp, sums have other scales; by cp, FSDP gathers fp32 masters as bfloat16."""
    model = parallelize_decoder(make_model(WIDE).to(torch.bfloat16), ONE, fp8_config=EMULATED)
    loss = loss_of(model, make_batch(0))
    loss.backward()
    norm = float(torch.nn.utils.get_total_norm([param.grad for param in model.parameters()]))
    options = {"param_dtype": torch.bfloat16, "fp8_config": EMULATED}
    for result in run_ranks(parallel_step, 2, WIDE, sizes, options):
        assert {value.dtype for value in result.state.values()} == {torch.float32}
        assert list(result.state) == list(model.state_dict())
        assert result.loss == pytest.approx(loss.item(), rel=0.02)
        assert result.grad_norm == pytest.approx(norm, rel=0.05)
