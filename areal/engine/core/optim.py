# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Optimizers, gradient clipping and the update that is skipped when gradients are not finite.

Used by the core engine, on plain and on sharded parameters alike. Gradients arrive here summed over ranks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from areal.api.cli_args import OptimizerConfig
from areal.utils.errors import ConfigError
from areal.utils.logging import getLogger
from areal.utils.lr_scheduler import LRSchedule

logger = getLogger("optim")

NUM_WORST = 5
"""Parameters named when gradients are not finite: enough to see whether one layer or all of them broke."""


@dataclass(frozen=True)
class UpdateResult:
    """Outcome of one optimizer step; `grad_norm` is the norm before clipping."""

    successful: bool
    grad_norm: float
    lr: float


class OptimizerSet:
    """The optimizers of one model with their common learning-rate schedule."""

    def __init__(
        self,
        config: OptimizerConfig,
        module: nn.Module,
        hidden_matrices: set[str],
        total_train_steps: int,
        clip: Callable[[float], float] | None = None,
    ) -> None:
        """`clip(max_norm)` clips all gradients of the module and returns their norm; None: `clip_gradients`."""
        self._config = config
        self._clip = clip
        self._module = module
        self._params = [param for param in module.parameters() if param.requires_grad]
        self.optimizers = build_optimizers(config, module, hidden_matrices)
        self.schedule = LRSchedule(config, total_train_steps, self.optimizers)
        self.num_skipped = 0
        self._settings = [[_settings_of(group) for group in opt.param_groups] for opt in self.optimizers]

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for param in self._params:
            param.grad = None

    def step(self) -> UpdateResult:
        """Clip the gradients and update the parameters; leave both untouched if any gradient is not finite."""
        lr = self.schedule.lr
        max_norm = self._config.gradient_clipping
        if self._clip is not None:
            grad_norm = self._clip(max_norm)
        else:
            grad_norm = clip_gradients([p.grad for p in self._params if p.grad is not None], max_norm)
        successful = math.isfinite(grad_norm)
        if successful:
            for optimizer in self.optimizers:
                optimizer.step()
        else:
            self.num_skipped += 1
            logger.warning(
                "skipped an update: the gradient norm is %s (%d skipped so far). Worst gradients of this rank: %s",
                grad_norm,
                self.num_skipped,
                "; ".join(describe_worst_gradients(self._module)),
            )
        self.zero_grad()
        return UpdateResult(successful, grad_norm, lr)

    def restore_settings(self) -> None:
        """Put hyper-parameters back to the configuration's, after a checkpoint brought its own along."""
        for optimizer, all_settings in zip(self.optimizers, self._settings, strict=True):
            for group, settings in zip(optimizer.param_groups, all_settings, strict=True):
                group.update(settings)
        self.schedule.set_step(self.schedule.current_step)


def build_optimizers(config: OptimizerConfig, module: nn.Module, hidden_matrices: set[str]) -> list[Optimizer]:
    """The optimizers of `config.type` over all trainable parameters of a module.

    adam is AdamW (decoupled weight decay), sgd has momentum `beta1`, muon orthogonalises the momentum (`beta1`) of the
    hidden matrices and gives everything else to AdamW. Muon's updates are scaled to AdamW's root mean square, so that
    learning rates carry over; on sharded parameters it gathers each matrix, five small products a step.
    """
    named = [(name, param) for name, param in module.named_parameters() if param.requires_grad]
    if config.type == "sgd":
        params = [param for _, param in named]
        return [torch.optim.SGD(params, config.lr, momentum=config.beta1, weight_decay=config.weight_decay)]
    if config.type == "adam":
        return [_adamw(config, [param for _, param in named])]
    if config.type != "muon":
        raise ConfigError(f"expected optimizer type adam, sgd or muon, got {config.type!r}")
    matrices = [param for name, param in named if name in hidden_matrices]
    if not matrices:
        raise ConfigError("expected 2-D hidden matrices for optimizer.type=muon, found none; use type=adam")
    muon = torch.optim.Muon(
        matrices,
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.beta1,
        adjust_lr_fn="match_rms_adamw",
    )
    return [muon, _adamw(config, [param for name, param in named if name not in hidden_matrices])]


def clip_gradients(grads: Iterable[Tensor], max_norm: float) -> float:
    """Scale gradients in place so that their global L2 norm is at most `max_norm`; returns the norm before.

    Gradients may live on different meshes (data parallel, tensor parallel): the norm is taken on each and combined. A
    norm that is not finite leaves the gradients as they are.
    """
    by_mesh: dict[object, list[Tensor]] = defaultdict(list)
    for grad in grads:
        by_mesh[grad.device_mesh if isinstance(grad, DTensor) else None].append(grad)
    squares = 0.0
    for mesh_grads in by_mesh.values():
        norm = torch.nn.utils.get_total_norm(mesh_grads)
        squares += float(norm.full_tensor() if isinstance(norm, DTensor) else norm) ** 2
    total = math.sqrt(squares) if math.isfinite(squares) else squares
    scale = max_norm / (total + 1e-6)
    if math.isfinite(total) and scale < 1.0:
        for mesh_grads in by_mesh.values():
            torch._foreach_mul_(mesh_grads, scale)
    return total


def describe_worst_gradients(module: nn.Module, limit: int = NUM_WORST) -> list[str]:
    """`name: how many elements are not finite, norm of the others` of the worst gradients that this rank holds.

    Those with most elements that are not finite come first, then those with the largest norm. No collectives.
    """
    found: list[tuple[int, float, str]] = []
    for name, param in module.named_parameters():
        if param.grad is None:
            continue
        grad = param.grad.to_local() if isinstance(param.grad, DTensor) else param.grad
        is_finite = torch.isfinite(grad)
        norm = float(torch.where(is_finite, grad, 0.0).float().norm())
        found.append((int((~is_finite).sum()), norm, f"{name}{list(param.shape)}"))
    worst = sorted(found, reverse=True)[:limit]
    return [f"{name}: {num_bad} not finite, norm of the rest {norm:.4g}" for num_bad, norm, name in worst]


def _adamw(config: OptimizerConfig, params: list[nn.Parameter]) -> Optimizer:
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(params, config.lr, betas, config.eps, weight_decay=config.weight_decay, fused=True)


def _settings_of(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name not in ("params", "lr")}
