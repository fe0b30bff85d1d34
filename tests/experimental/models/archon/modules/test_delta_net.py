# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor, nn
from transformers import Qwen3NextConfig
from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5TextConfig
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5GatedDeltaNet
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

from areal.experimental.models.archon.contexts.packed import PackedContext
from areal.experimental.models.archon.contexts.protocol import TokenInfo
from areal.experimental.models.archon.kernels.attention import Packing
from areal.experimental.models.archon.model_args import DeltaNetArgs, NormArgs
from areal.experimental.models.archon.modules.delta_net import GatedDeltaNet
from areal.models.packed_attention.layout import PackedLayout

HIDDEN, K, V, D, W, S = 32, 2, 4, 8, 6, 4
ARGS = DeltaNetArgs(
    num_key_heads=K, num_value_heads=V, key_head_dim=D, value_head_dim=W, conv_kernel=S, norm=NormArgs(eps=1e-6)
)
LENGTHS = [70, 1, 13, 40]
LINEAR = {
    "linear_num_key_heads": K,
    "linear_num_value_heads": V,
    "linear_key_head_dim": D,
    "linear_value_head_dim": W,
    "linear_conv_kernel_dim": S,
}


def _hf_module(family: str) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": HIDDEN, "num_hidden_layers": 1, "layer_types": ["linear_attention"], **LINEAR}
    if family == "qwen3_next":
        module = Qwen3NextGatedDeltaNet(Qwen3NextConfig(**sizes), 0)
    else:
        module = Qwen3_5GatedDeltaNet(Qwen3_5TextConfig(**sizes), 0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return module


def _canonical(family: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """HF's tensors by our names; qwen3_next stores [q, k, v, z] and [b, a] of each key head together."""
    state = dict(state)
    state["conv1d.weight"] = state["conv1d.weight"].squeeze(1)
    if family == "qwen3_next":
        ratio = V // K
        sizes = (D, D, ratio * W, ratio * W)
        q, k, v, z = state.pop("in_proj_qkvz.weight").view(K, -1, HIDDEN).split(sizes, dim=1)
        b, a = state.pop("in_proj_ba.weight").view(K, -1, HIDDEN).split((ratio, ratio), dim=1)
        parts = {"qkv": torch.cat([x.flatten(0, 1) for x in (q, k, v)]), "z": z, "b": b, "a": a}
        state |= {f"in_proj_{name}.weight": x.reshape(-1, HIDDEN) for name, x in parts.items()}
    return state


def _info(lengths: list[int]) -> TokenInfo:
    layout = PackedLayout.from_lengths(lengths)
    return TokenInfo(layout.position_ids(), {}, PackedContext(Packing(layout.cu_seqlens, layout.max_seqlen, layout)))


@pytest.mark.parametrize("family", ["qwen3_next", "qwen3_5"])
def test_gated_delta_net_packed_matches_hf_module_and_its_gradients(family: str) -> None:
    theirs, ours = _hf_module(family), GatedDeltaNet(ARGS, HIDDEN, 0)
    ours.load_state_dict(_canonical(family, theirs.state_dict()))
    x = torch.randn(sum(LENGTHS), HIDDEN, requires_grad=True)
    got = ours(x, _info(LENGTHS))
    expected = torch.cat([theirs(part[None])[0] for part in x.split(LENGTHS)])
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    grad = torch.randn_like(got)
    got_x, *got_grads = torch.autograd.grad(got, [x, *ours.parameters()], grad)
    expected_x, *their_grads = torch.autograd.grad(expected, [x, *theirs.parameters()], grad)
    torch.testing.assert_close(got_x, expected_x, rtol=1e-3, atol=1e-4)
    by_name = dict(zip((name for name, _ in theirs.named_parameters()), their_grads, strict=True))
    expected_grads = _canonical(family, by_name)
    for (name, _), mine in zip(ours.named_parameters(), got_grads, strict=True):
        torch.testing.assert_close(mine, expected_grads[name], rtol=1e-3, atol=2e-3, msg=lambda m, n=name: f"{n}: {m}")


def test_gated_delta_net_fused_projections_give_the_same_output() -> None:
    ours = GatedDeltaNet(ARGS, HIDDEN, 0)
    ours.load_state_dict(_canonical("qwen3_5", _hf_module("qwen3_5").state_dict()))
    x, info = torch.randn(7, HIDDEN), _info([7])
    with torch.no_grad():
        before = ours(x, info)
        ours.fuse()
        torch.testing.assert_close(ours(x, info), before)


def test_gated_delta_net_bfloat16_is_as_near_to_fp32_as_hf() -> None:
    theirs = _hf_module("qwen3_5")
    ours = GatedDeltaNet(ARGS, HIDDEN, 0)
    ours.load_state_dict(_canonical("qwen3_5", theirs.state_dict()))
    ours, theirs = ours.bfloat16(), theirs.bfloat16()
    x = torch.randn(200, HIDDEN).bfloat16()
    got, expected = ours(x, _info([200])), theirs(x[None])[0]
    exact = theirs.float()(x[None].float())[0]
    assert got.dtype == torch.bfloat16
    assert (got - exact).square().mean() < 1.1 * (expected - exact).square().mean()


def test_gated_delta_net_every_child_has_a_role() -> None:
    ours = GatedDeltaNet(ARGS, HIDDEN, 0)
    assert {name.split(".")[0] for name, _ in ours.named_parameters()} == set(ours.roles())
