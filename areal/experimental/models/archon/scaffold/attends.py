# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What one call of softmax attention read and gave; and how to see it in models that compute it with code of their own.

Called by `hf_model`. Such code is recognised by what every softmax attention does: a product of two stacks of matrices, a
softmax over `[T, T]`, a product of its result. Dimensions: T tokens, H heads, D query width, W value width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel


@dataclass
class Attend:
    """One call of the attention function; q, k, v are `[batch, heads, T, width]`, out `[batch, T, heads, width]`.

    scores: what the softmax read, `[H, T, T]`, where the model's own code was watched.
    """

    module: nn.Module
    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor | None
    out: Tensor
    options: dict[str, Any]
    scores: Tensor | None = None


def attends_of_own_code(model: PreTrainedModel, tokens: Tensor) -> list[Attend]:
    """The softmax attentions of one forward pass over `[1, T]`."""
    with _modules_entered(model) as stack, torch.no_grad(), _Watch(stack, tokens.shape[1]) as watch:
        model(input_ids=tokens, use_cache=False)
    return watch.attends


@contextmanager
def _modules_entered(model: nn.Module) -> Iterator[list[nn.Module]]:
    """The modules that are running, outermost first."""
    stack: list[nn.Module] = []
    handles = []
    for module in model.modules():
        handles.append(module.register_forward_pre_hook(lambda m, args: stack.append(m)))
        handles.append(module.register_forward_hook(lambda m, args, result: _drop_last(stack)))
    try:
        yield stack
    finally:
        for handle in handles:
            handle.remove()


def _drop_last(stack: list[nn.Module]) -> None:
    stack.pop()


class _Watch(TorchDispatchMode):
    """Pairs each softmax over `[T, T]` with the product before and the one behind it, copying what they read."""

    def __init__(self, stack: list[nn.Module], num_tokens: int) -> None:
        super().__init__()
        self.attends: list[Attend] = []
        self._stack, self._num_tokens = stack, num_tokens
        self._product: tuple[Tensor, Tensor] | None = None
        self._softmax: tuple[Tensor, Tensor] | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        aten = torch.ops.aten
        if func in (aten.bmm.default, aten.baddbmm.default):
            left, right = args[-2:] if func is aten.bmm.default else args[1:3]
            self._see_product(left, right, result)
        elif func is aten._softmax.default and self._is_square(result) and self._product is not None:
            self._softmax = args[0].clone(), result.clone()
        return result

    def _is_square(self, x: Tensor) -> bool:
        return x.shape[-2:] == (self._num_tokens, self._num_tokens)

    def _see_product(self, left: Tensor, right: Tensor, result: Tensor) -> None:
        if self._softmax is not None and self._product is not None and self._is_square(left):
            scores, probs = (t.view(-1, *t.shape[-2:]) for t in self._softmax)
            if torch.equal(probs, left.to(probs.dtype)):
                self._add(scores, probs, right, result)
                self._product = self._softmax = None
                return
        if self._is_square(result):
            self._product = left.clone(), right.transpose(-1, -2).clone()

    def _add(self, scores: Tensor, probs: Tensor, values: Tensor, result: Tensor) -> None:
        assert self._product is not None
        q, k = (x.unsqueeze(0) for x in self._product)
        if q.shape[1] != probs.shape[0]:
            return
        module = next(m for m in reversed(self._stack) if any(True for _ in m.parameters()))
        visible = (probs > 0).any(0)[None, None]  # of hidden tokens the softmax gives zeros
        out = result.transpose(0, 1).unsqueeze(0).clone()
        self.attends.append(Attend(module, q, k, values.unsqueeze(0).clone(), visible, out, {}, scores))
