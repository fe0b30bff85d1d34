# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Tensor parallelism with sequence parallelism: carries out `plan` on a model. First step of `parallelize_decoder`.

    residual stream [N/tp, E] -> norm -> gather -> mixer or feed-forward with this rank's heads or channels -> sum and
    scatter -> residual stream

A mixer that cannot be cut runs whole, on all tokens, on each rank, and so does a head whose vocabulary does not divide. The final norm's output is gathered: the head computes all
tokens' logits of this rank's part of the vocabulary. Dimensions: N tokens, E hidden width, W normalised width.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh

from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.modules.attention import Attention
from areal.experimental.models.archon.modules.norm import Norm
from areal.experimental.models.archon.parallel.collectives import (
    all_reduce_sum,
    gather_parts,
    gather_same,
    own_rows,
    scatter_sum,
    share,
    sum_gradient,
)
from areal.experimental.models.archon.parallel.local_view import (
    View,
    cut_parameter,
    identity,
    override,
    view_parameters,
)
from areal.experimental.models.archon.parallel.plan import (
    Gradient,
    ModulePlan,
    cuts_vocabulary,
    is_cut,
    mixer_of,
    plan_modules,
)
from areal.experimental.models.archon.roles import Role


def apply_tensor_parallel(model: ArchonModel, mesh: DeviceMesh) -> None:
    """Cut the dense parameters of a model over the ranks of a one-dimensional mesh, in place."""
    group = mesh.get_group()
    is_vocabulary_cut = cuts_vocabulary(model.args, mesh.size())
    views = {gradient: _view(gradient, group) for gradient in Gradient}
    for plan in list(plan_modules(model, mesh.size())):
        for name, param in plan.parameters.items():
            cut_parameter(plan.module, name, mesh, (param.placement,))
        _localise(plan, mesh, views, is_vocabulary_cut)
    for module in model.modules():
        if is_cut(module):
            _hook(module, partial(gather_parts, group=group), partial(scatter_sum, group=group))
        if isinstance(module, Attention) and module.slopes is not None and is_cut(module):
            module.slopes = module.slopes.chunk(group.size())[group.rank()]
    for block in model.layers.values():
        if not is_cut(mixer_of(block)):
            _hook(mixer_of(block), partial(gather_same, group=group), partial(own_rows, group=group))
    if model.tok_embeddings is not None and not is_vocabulary_cut:
        _hook(model.tok_embeddings, None, partial(own_rows, group=group))
    if model.pos_embeddings is not None:
        _hook(model.pos_embeddings, None, partial(own_rows, group=group))
    if model.score is not None:
        _hook(model.score, None, partial(gather_same, group=group))
    elif model.norm is not None:
        _hook(model.norm, None, partial(gather_parts if is_vocabulary_cut else gather_same, group=group))


def gather_logits(model: ArchonModel, mesh: DeviceMesh) -> None:
    """Let `head` return the logits of the whole vocabulary, for losses that do not know of tensor parallelism."""
    cls, group = type(model), mesh.get_group()

    def head(self: ArchonModel, hidden: Tensor) -> Tensor:
        local = cls.head(self, hidden)
        return gather_same(local.movedim(-1, 0), group).movedim(0, -1)

    override(model, ("gathered head", group), head=head)


def _localise(plan: ModulePlan, mesh: DeviceMesh, views: Mapping[Gradient, View], is_vocabulary_cut: bool) -> None:
    group = mesh.get_group()
    if plan.parameters:
        own = {name: views[param.gradient] for name, param in plan.parameters.items()}
        view_parameters(plan.module, mesh, own)
    if plan.role is Role.EMBEDDING and is_vocabulary_cut:
        override(plan.module, ("embedding", group), forward=_method(_vocab_parallel_embedding, group))
    elif plan.role is Role.FLAT_NORM:
        override(plan.module, ("norm", group), forward=_method(_flat_norm, group))


def _method(function: Any, group: ProcessGroup) -> Any:
    def method(self: nn.Module, x: Tensor) -> Tensor:
        return function(self, x, group)

    return method


def _view(gradient: Gradient, group: ProcessGroup) -> View:
    if gradient is Gradient.SUM:
        return partial(sum_gradient, group=group)
    if gradient is Gradient.SHARE:
        return partial(share, num_ranks=group.size())
    return identity


def _hook(module: nn.Module, entry: View | None, exit_: View | None) -> None:
    """Change the first argument and the result of a module."""

    def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        assert entry is not None
        return entry(args[0]), *args[1:]

    def after(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        assert exit_ is not None
        return exit_(output)

    if entry is not None:
        module.register_forward_pre_hook(before)
    if exit_ is not None:
        module.register_forward_hook(after)


def _vocab_parallel_embedding(embedding: nn.Embedding, tokens_N: Tensor, group: ProcessGroup) -> Tensor:
    """Embeddings `[N/tp, E]` of this rank's tokens; each rank looks up its rows of the vocabulary for all tokens."""
    weight = embedding.weight
    rows_N = tokens_N - group.rank() * weight.shape[0]
    is_own = (rows_N >= 0) & (rows_N < weight.shape[0])
    found_NE = F.embedding(rows_N.masked_fill(~is_own, 0), weight)
    return scatter_sum(found_NE * is_own.unsqueeze(-1), group)


def _flat_norm(norm: Norm, x: Tensor, group: ProcessGroup) -> Tensor:
    """`Norm` over channels of which each rank has its part: statistics are sums over ranks."""
    args = norm.args
    width = norm.width
    x32 = x.float()
    if args.kind == "layer":
        x32 = x32 - all_reduce_sum(x32.sum(-1, keepdim=True), group) / width
    square = all_reduce_sum(x32.square().sum(-1, keepdim=True), group)
    normal = x32 * torch.rsqrt((square if args.kind == "l2" else square / width) + args.eps)
    if not args.weight_in_fp32 and args.kind != "layer":  # rounding as in `Norm`
        normal = normal.to(x.dtype)
    if norm.weight is not None:
        weight = norm.weight.float() if args.weight_in_fp32 else norm.weight
        normal = normal * (weight + args.offset)
    if norm.bias is not None:
        normal = normal + norm.bias
    return normal.to(x.dtype)
