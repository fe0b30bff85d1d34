# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What tensor parallelism does to every parameter, from the roles that layers declare. No tensors, no groups.

Read by `tensor` and `expert`, which carry it out. Between blocks each rank holds its own rows of the residual stream (Korthikanti
et al. 2022), so that whatever works token by token (norms, routers, gates) sees other tokens on each rank, and the gradient
of its whole parameters is the sum over ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

from torch import nn
from torch.distributed.tensor import Placement, Replicate, Shard

from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.roles import Role


@runtime_checkable
class DeclaresRoles(Protocol):
    """A layer; see `roles`."""

    def roles(self) -> Mapping[str, Role]:
        """Roles of the layer's direct children and parameters."""
        ...


class Gradient(Enum):
    """How the gradient of a rank's part of a parameter becomes that of the parameter."""

    COMPLETE = "complete"
    """It is: each rank computes with its own part, or all compute the same."""
    SUM = "sum"
    """Ranks apply the whole parameter to different tokens or heads: their gradients are summed."""
    SHARE = "share"
    """Each rank adds its share of the parameter to a partial sum, and sees the whole gradient."""


@dataclass(frozen=True)
class ParameterPlan:
    """Placement of a parameter on the tensor-parallel axis, and its gradient."""

    placement: Placement
    gradient: Gradient


@dataclass(frozen=True)
class ModulePlan:
    """A module to change: its role as a whole (None: none declared), and what happens to each of its own parameters."""

    module: nn.Module
    role: Role | None
    parameters: Mapping[str, ParameterPlan]


def declared_roles(model: nn.Module) -> tuple[dict[nn.Module, Role], dict[tuple[nn.Module, str], Role]]:
    """Roles of modules, and of parameters by owner and name; those of a module hold for its own parameters too."""
    modules: dict[nn.Module, Role] = {}
    parameters: dict[tuple[nn.Module, str], Role] = {}
    for module in model.modules():
        if not isinstance(module, DeclaresRoles):
            continue
        for child_name, role in module.roles().items():
            child = module._modules.get(child_name)
            if child is not None:
                modules[child] = role
                parameters |= {(child, name): role for name, _ in child.named_parameters(recurse=False)}
            elif module._parameters.get(child_name) is not None:
                parameters[module, child_name] = role
    return modules, parameters


def is_cut(module: nn.Module) -> bool:
    """Whether a layer has projections that ranks share: it takes all tokens and returns partial sums."""
    return isinstance(module, DeclaresRoles) and Role.ROW in module.roles().values()


def mixer_of(block: nn.Module) -> nn.Module:
    """The module of a block in which tokens meet."""
    names = ("attention", "linear_attn", "short_conv")
    mixer = next((block._modules[name] for name in names if block._modules.get(name) is not None), None)
    assert mixer is not None, "a block has a mixer"
    return mixer


def cuts_vocabulary(args: DecoderArgs, num_ranks: int) -> bool:
    """Whether embedding and head are cut; a vocabulary that does not divide is whole on every rank, at the cost of memory."""
    return args.vocab_size % num_ranks == 0


def plan_modules(model: ArchonModel, num_ranks: int) -> Iterator[ModulePlan]:
    """The plan of every module that has a role or parameters of its own, except of experts, which `expert` handles."""
    modules, parameters = declared_roles(model)
    mixers = [mixer_of(block) for block in model.layers.values()]
    whole = {part for mixer in mixers if not is_cut(mixer) for part in mixer.modules()}
    whole |= {module for module, role in modules.items() if role is Role.POSITIONS}
    if not cuts_vocabulary(model.args, num_ranks):
        whole |= {module for module, role in modules.items() if role in (Role.EMBEDDING, Role.OUTPUT)}
    for module in model.modules():
        own = {name: parameters.get((module, name)) for name, _ in module.named_parameters(recurse=False)}
        plans = {
            name: ParameterPlan(Replicate(), Gradient.COMPLETE) if module in whole else _plan(role, name)
            for name, role in own.items()
            if role is not Role.EXPERTS
        }
        if plans or module in modules:
            yield ModulePlan(module, modules.get(module), plans)


def _plan(role: Role | None, param_name: str) -> ParameterPlan:
    if role in (Role.COLUMN, Role.CHANNEL, Role.FLAT_NORM, Role.EMBEDDING, Role.OUTPUT):
        return ParameterPlan(Shard(0), Gradient.COMPLETE)
    if role is Role.ROW:
        if param_name == "bias":
            return ParameterPlan(Replicate(), Gradient.SHARE)
        return ParameterPlan(Shard(1), Gradient.COMPLETE)
    return ParameterPlan(Replicate(), Gradient.SUM)
