# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Activation checkpointing of blocks: what is kept for the backward, and what is computed again. Before compilation.

No wrapper modules: a block's `forward` runs inside `torch.utils.checkpoint`, so that names and FSDP units stay. Options carry
AReaL's names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode, _pop_mode_temporarily
from torch.utils.checkpoint import (
    CheckpointPolicy,
    _CachedTorchDispatchMode,
    _CachingTorchDispatchMode,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.parallel.local_view import override
from areal.utils.errors import ConfigError

Mode = Literal["none", "full", "selective", "memory_budget"]
aten = torch.ops.aten

# Results that are dear to compute again, or must not be: another choice of experts in the recomputation (`topk`), another
# exchange of rows between ranks, a copy to the host that waits for the device.
SAVED_OPS = (
    aten.mm.default,
    aten.addmm.default,
    aten._grouped_mm.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_cudnn_attention.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._flash_attention_forward.default,
    aten.topk.default,
    aten.max.default,
    torch.ops._c10d_functional.reduce_scatter_tensor.default,
    torch.ops._c10d_functional.all_to_all_single.default,
)
# The same, of operators that exist once a module that CPU runs never import has registered them: known by name.
SAVED_NAMES = frozenset({"torch_attn._varlen_attn.default", "areal.grouped_linear.default"})
_ONE_BACKWARD = "_one_backward"
_PRODUCTS = (aten.mm.default, aten.addmm.default)


@dataclass(frozen=True, kw_only=True)
class ActivationCheckpointConfig:
    """Which blocks recompute what.

    mode: none; full: every block; selective: every N-th block (`selective_ac_option` "N"), or in every block all but the results
    of dear operators, half of the matrix products included ("op"); memory_budget: the compiler decides within a share of the
    memory that no checkpointing would take (needs compilation).
    per_op_sac_force_recompute_mm_shapes_by_fqns: products with the shape of these modules are always recomputed.
    early_stop: end a recomputation as soon as the last needed tensor exists. preserve_rng_state: for layers with dropout.
    determinism_check: torch's check of recomputed tensors, "default" (shapes) or "none". debug: torch's trace of mismatches.
    """

    mode: Mode = "selective"
    selective_ac_option: str = "op"
    per_op_sac_force_recompute_mm_shapes_by_fqns: tuple[str, ...] = ("moe.router.gate",)
    early_stop: bool = False
    memory_budget: float = 0.5
    preserve_rng_state: bool = False
    determinism_check: str = "default"
    debug: bool = False

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ConfigError(
                f"expected an activation checkpointing mode of {', '.join(get_args(Mode))}, got {self.mode!r}"
            )
        option = self.selective_ac_option
        if self.mode == "selective" and option != "op" and not (option.isdecimal() and int(option) >= 1):
            raise ConfigError(f"expected selective_ac_option 'op' or a number >= 1, got {option!r}")
        if not 0.0 <= self.memory_budget <= 1.0:
            raise ConfigError(f"expected memory_budget in [0, 1], got {self.memory_budget}")


@runtime_checkable
class CheckpointedBlock(Protocol):
    """A block whose forward keeps little of `compute`, and calls it again in the backward."""

    compute: Callable[..., Tensor]


def apply_activation_checkpointing(model: ArchonModel, config: ActivationCheckpointConfig, compiles: bool) -> None:
    """Let the blocks of a model recompute, in place. `compiles`: whether they will be compiled."""
    if config.mode == "none":
        return
    if config.mode == "memory_budget":
        if not compiles:
            raise ConfigError(
                "expected compilation with activation checkpointing mode memory_budget, got none; enable it"
            )
        torch._functorch.config.activation_memory_budget = config.memory_budget
        return
    every = int(config.selective_ac_option) if _is_every_nth(config) else 1
    for count, block in enumerate(model.layers.values(), start=1):
        if count % every == 0:
            _checkpoint_block(block, config)


def hide_hooks(module: nn.Module) -> None:
    """Keep the operations of a module's hooks out of selective checkpointing, in place.

    FSDP gathers a unit inside of a block in the forward, but finds it gathered in advance in the backward: the recomputation
    has other operations than the forward, which torch refuses.
    """
    for hooks in (module._forward_pre_hooks, module._forward_hooks):
        for key, hook in hooks.items():
            hooks[key] = _hidden(hook)


def _hidden(hook: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(hook)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not isinstance(_get_current_dispatch_mode(), _CachingTorchDispatchMode | _CachedTorchDispatchMode):
            return hook(*args, **kwargs)
        with _pop_mode_temporarily():
            return hook(*args, **kwargs)

    return run


def allows_one_backward(model: ArchonModel) -> bool:
    """Whether torch forbids a second backward through a part of the model, as zero-bubble schedules do: "op" was applied."""
    # FSDP derives classes from those that were made here.
    classes = (cls for block in model.layers.values() for cls in type(block).__mro__)
    return any(cls.__dict__.get(_ONE_BACKWARD, False) for cls in classes)


def _is_every_nth(config: ActivationCheckpointConfig) -> bool:
    return config.mode == "selective" and config.selective_ac_option != "op"


def _checkpoint_block(block: nn.Module, config: ActivationCheckpointConfig) -> None:
    options: dict[str, Any] = {
        "use_reentrant": False,
        "preserve_rng_state": config.preserve_rng_state,
        "determinism_check": config.determinism_check,
        "debug": config.debug,
        "early_stop": config.early_stop,
    }
    if config.mode == "selective" and not _is_every_nth(config):
        shapes = _forced_shapes(block, config.per_op_sac_force_recompute_mm_shapes_by_fqns)
        options["context_fn"] = partial(_op_contexts, shapes)
    else:
        shapes = frozenset()
    plain = type(block).forward

    def forward(self: CheckpointedBlock, *args: Any) -> Tensor:
        return checkpoint(self.compute, *args, **options)

    attributes = {"forward": forward, "compute": plain, _ONE_BACKWARD: "context_fn" in options}
    override(block, ("checkpoint", config, shapes), **attributes)


def _forced_shapes(block: nn.Module, fqns: tuple[str, ...]) -> frozenset[tuple[int, ...]]:
    """Shapes of the right-hand sides of the products of linears whose names end so: `[in, out]`."""
    return frozenset(
        (module.in_features, module.out_features)
        for name, module in block.named_modules()
        if isinstance(module, nn.Linear) and any(name.endswith(fqn) for fqn in fqns)
    )


def _op_contexts(forced_shapes: frozenset[tuple[int, ...]]) -> Any:
    return create_selective_checkpoint_contexts(_op_policy(forced_shapes))


def _op_policy(forced_shapes: frozenset[tuple[int, ...]]) -> Callable[..., CheckpointPolicy]:
    """Save dear results; of the matrix products every second one, counted apart in forward and recomputation."""
    num_products = {False: 0, True: 0}

    def policy(context: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        if op is aten._to_copy.default and kwargs.get("device") == torch.device("cpu") and args[0].device.type != "cpu":
            return CheckpointPolicy.MUST_SAVE
        if op in _PRODUCTS:
            if tuple(args[-1].shape) in forced_shapes:
                return CheckpointPolicy.PREFER_RECOMPUTE
            num_products[context.is_recompute] += 1
            if num_products[context.is_recompute] % 2 == 0:
                return CheckpointPolicy.PREFER_RECOMPUTE
        is_saved = op in SAVED_OPS or str(op) in SAVED_NAMES
        return CheckpointPolicy.MUST_SAVE if is_saved else CheckpointPolicy.PREFER_RECOMPUTE

    return policy
