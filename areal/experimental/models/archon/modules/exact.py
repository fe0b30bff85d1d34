# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Base of modules whose own buffers must stay exact: rotary frequencies, slopes, counts and selection biases.

A cast of the model would round them. Most are in no checkpoint, and a model from the meta device, whose tensors get memory
without values (`to_empty`), would have lost them. Both go through the one method of torch that is overridden here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn


class ExactBuffers(nn.Module):
    """A module whose own buffers follow it to another device, and keep dtype and values."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        exact = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, buffer in exact.items():
            moved = self._buffers[name]
            if buffer is not None and moved is not None:
                self._buffers[name] = buffer.to(moved.device)
        return self
