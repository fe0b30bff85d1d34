# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises a mixture of experts: what the router does follows from the routing that HF fed to its experts.

The choice (scores, selection bias, groups) is searched first, then the weights of the chosen (normalisation, scale).
Dimensions: T tokens, E hidden width, X experts, K choices.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from areal.experimental.models.archon.model_args import MoEArgs, RouterArgs, SharedExpertArgs
from areal.experimental.models.archon.moe.router import TokenChoiceTopKRouter
from areal.experimental.models.archon.scaffold.dataflow import TOLERANCE, mismatch, ratio, rows, same, snapped_to_one
from areal.experimental.models.archon.scaffold.experts import FittedExperts, fit_experts
from areal.experimental.models.archon.scaffold.feed_forward import fit_feed_forward
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import Call


@dataclass(frozen=True)
class FittedMoE:
    """Arguments and tensors (by our names below the module) of an MoE layer."""

    args: MoEArgs
    weights: dict[str, Tensor]


def has_experts(feeds: Sequence[Call]) -> bool:
    """Whether a feed-forward holds stacked matrices."""
    return any(p.ndim == 3 for feed in feeds for p in feed.module.parameters())


def fit_moe(
    where: str, calls: Sequence[Call], x: Tensor, y: Tensor, known_eps: tuple[float, ...], config: PreTrainedConfig
) -> FittedMoE:
    """The MoE layer that these calls compute from x to y; `Unexplained` when it is none of ours."""
    for call in calls:
        for name, parameter in call.module.named_parameters(recurse=False):
            if not parameter.numel():
                raise Unexplained(
                    call.name, f"its {name} is empty, {tuple(parameter.shape)}: leave the module out instead"
                )
    expert_calls = [c for c in calls if any(p.ndim == 3 for p in c.module.parameters(recurse=False))]
    if len(expert_calls) != 1:
        raise Unexplained(where, f"expected one module with stacked experts, got {[c.name for c in expert_calls]}")
    experts = fit_experts(expert_calls[0], x)
    router, weights = _fit_router(where, calls, x, experts, config)
    shared, shared_weights, factor, output_scale = _fit_shared(
        where, calls, expert_calls[0], experts.output, x, y, known_eps
    )
    args = MoEArgs(
        num_experts=experts.routing_TX.shape[1],
        top_k=experts.top_k,
        router=replace(router, scale=snapped_to_one(router.scale * factor)),
        experts=experts.args,
        shared=shared,
        output_scale=output_scale,
        weight_on_input=experts.weight_on_input,
    )
    weights |= {f"experts.{name}": t for name, t in experts.weights.items()}
    return FittedMoE(args, {**weights, **shared_weights})


def _fit_router(
    where: str, calls: Sequence[Call], x: Tensor, experts: FittedExperts, config: PreTrainedConfig
) -> tuple[RouterArgs, dict[str, Tensor]]:
    num_experts = experts.routing_TX.shape[1]
    errors: dict[str, float] = {}
    for weight, bias, selection in _router_tensors(calls, num_experts, x.shape[-1]):
        for args in _choices(num_experts, experts.top_k, bias, selection, config):
            got = _routing(args, num_experts, experts.top_k, x, weight, bias, selection)
            if not torch.equal(got > 0, experts.routing_TX > 0):
                errors[f"{args.score}: choice"] = min(errors.get(f"{args.score}: choice", 9.0), 1.0)
                continue
            for normalize in (False, True):
                total = got.sum(-1, keepdim=True) if normalize else torch.ones(())
                predicted = got / total
                scale = ratio(experts.routing_TX, predicted)
                label = f"{args.score}, normalize {normalize}, scale {scale:.6g}"
                errors[label] = error = mismatch(predicted * scale, experts.routing_TX)
                if error < TOLERANCE:
                    tensors = {"router.gate.weight": weight}
                    if bias is not None:
                        tensors["router.gate.bias"] = bias
                    if selection is not None:
                        tensors["router.expert_bias"] = selection
                    args = replace(args, normalize=normalize, scale=snapped_to_one(scale))
                    return _with_all_groups(args, config, num_experts), tensors
    raise Unexplained(where, "no router reproduces the chosen experts and their weights", errors)


def _with_all_groups(args: RouterArgs, config: PreTrainedConfig, num_experts: int) -> RouterArgs:
    """A choice among all of g groups is a choice without groups; said as the config says it, so that g follows from a field."""
    groups = [v for name, v in config.to_dict().items() if "group" in name and isinstance(v, int)]
    repeated = sorted({g for g in groups if g > 1 and groups.count(g) > 1 and num_experts % g == 0})
    if (
        args.num_groups > 1
        or not repeated
        or num_experts // repeated[0] < 2
        or args.score not in ("softmax", "sigmoid")
    ):
        return args
    return replace(args, num_groups=repeated[0], num_limited_groups=repeated[0])


def _router_tensors(
    calls: Sequence[Call], num_experts: int, hidden: int
) -> Iterator[tuple[Tensor, Tensor | None, Tensor | None]]:
    """Gate matrix, gate bias and selection bias: any tensors of these sizes, fewest first."""
    owners = {id(c.module): c.module for c in calls}.values()
    tensors = {id(t): t.detach() for module in owners for t in (*module.parameters(), *module.buffers())}
    matrices = [t for t in tensors.values() if t.shape == (num_experts, hidden)]
    vectors = [t.flatten() for t in tensors.values() if t.numel() == num_experts and t.ndim <= 2]
    options: list[Tensor | None] = [None, *vectors]
    for matrix, bias, selection in itertools.product(matrices, options, options):
        used = [t for t in (bias, selection) if t is not None]
        if len(used) == len(vectors) and (bias is None or bias is not selection):
            yield matrix, bias, selection


def _choices(
    num_experts: int, top_k: int, bias: Tensor | None, selection: Tensor | None, config: PreTrainedConfig
) -> Iterator[RouterArgs]:
    base = RouterArgs(bias=bias is not None, selection_bias=selection is not None)
    for score in ("softmax", "sigmoid", "softmax_topk", "sigmoid_topk"):
        yield replace(base, score=score)  # type: ignore[arg-type]
    if selection is None:
        jitters = {v for name, v in config.to_dict().items() if "jitter" in name and isinstance(v, float)}
        for jitter in sorted(jitters, reverse=True):
            yield replace(base, score="sparsemixer", jitter_eps=jitter)
    for softcap in {v for name, v in config.to_dict().items() if "cap" in name and isinstance(v, float) and v > 0}:
        for score in ("softmax", "sigmoid"):
            yield replace(base, score=score, softcap=softcap)  # type: ignore[arg-type]
    groupings = [(g, n) for g in range(2, num_experts) if num_experts % g == 0 for n in range(1, g)]
    for (groups, limited), score, reduce, masked in itertools.product(
        groupings, ("softmax", "sigmoid"), ("top2_sum", "max"), ("minus_inf", "zero")
    ):
        size = num_experts // groups
        if size * limited < top_k or (reduce == "top2_sum" and size < 2):
            continue
        yield replace(
            base,
            score=score,  # type: ignore[arg-type]
            num_groups=groups,
            num_limited_groups=limited,
            group_reduce=reduce,  # type: ignore[arg-type]
            masked_score=masked,  # type: ignore[arg-type]
        )


def _routing(
    args: RouterArgs,
    num_experts: int,
    top_k: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    selection: Tensor | None,
) -> Tensor:
    """Dense weights `[T, X]` that our router gives, not normalised."""
    router = TokenChoiceTopKRouter(args, num_experts, top_k, x.shape[-1])
    router.gate.weight.data = weight
    if bias is not None:
        router.gate.bias.data = bias
    if selection is not None:
        router.expert_bias = selection
    with torch.no_grad():
        weights_TK, experts_TK, _ = router(x)
    return torch.zeros(x.shape[0], num_experts).scatter_(1, experts_TK, weights_TK.float())


def _fit_shared(
    where: str,
    calls: Sequence[Call],
    experts: Call,
    routed: Tensor,
    x: Tensor,
    y: Tensor,
    known_eps: tuple[float, ...],
) -> tuple[SharedExpertArgs | None, dict[str, Tensor], float, float]:
    """Shared experts, their tensors, the factor of the routed part and that of the sum."""
    factor = ratio(y, routed)
    if same(routed * factor, y):
        return None, {}, factor, 1.0
    errors = {"routed experts alone": mismatch(routed * factor, y)}
    gates = [c for c in calls if c.y.shape[-1] == 1 and same(rows(c.x), x)]
    inner = [c for c in calls if c.name != experts.name and not experts.name.startswith(c.name + ".")]
    for call in inner:
        if call.y.numel() != x.numel() or not same(rows(call.x), x) or not list(call.module.children()):
            continue
        for gate in (None, *gates):
            part = rows(call.y) if gate is None else rows(call.y) * torch.sigmoid(rows(gate.y))
            pair = torch.stack((routed.flatten(), part.flatten()), dim=1).double()
            of_routed, of_shared = torch.linalg.lstsq(pair, y.flatten().double()[:, None]).solution[:, 0].tolist()
            label = f"{call.name}{'' if gate is None else ' gated'}"
            errors[label] = error = mismatch(of_routed * routed + of_shared * part, y)
            if error > TOLERANCE:
                continue
            below = [c for c in calls if c.name.startswith(call.name + ".")]
            fed = fit_feed_forward(below, call.name, call.x, call.y, known_eps)
            weights = {f"shared_experts.{name}": t for name, t in fed.weights.items()}
            if gate is not None:
                weights["shared_expert_gate.weight"] = gate.module.get_parameter("weight").detach()
            shared = SharedExpertArgs(feed_forward=fed.args, gate=gate is not None)
            return shared, weights, of_routed / of_shared, snapped_to_one(of_shared)
    raise Unexplained(where, "the output is neither the routed experts nor their sum with shared ones", errors)
