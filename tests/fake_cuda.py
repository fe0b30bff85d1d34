# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Tensors that say they are on a GPU but have no data: devices, dtypes and shapes of CUDA code are checked on any machine.

Torch's fake tensors let some mistakes pass that a GPU refuses, and know nothing of the constraints of kernels: `Watch` adds
both, and counts what makes the host wait for the device. Numbers, speed and memory cannot be checked this way.
Gradients need a process that loaded `fake_cuda_hooks.cpp` before torch, as `fake_cuda_gradients` of the Archon tests does.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

COPIES = ("aten._to_copy.default", "aten.copy_.default", "aten.set_.source_Tensor")
WAITS = ("aten._local_scalar_dense.default", "aten.nonzero.default", "aten._unique2.default")
FLASH = ("torch_attn._varlen_attn.default", "torch_attn._varlen_attn_backward.default")
SHORT_FLOATS = (torch.bfloat16, torch.float16)


class Watch(TorchDispatchMode):
    """Fails where a GPU would; `waits` counts synchronisations by the line that made them, `ops` counts operators.

    `scalar` is what reading a number from the device gives; None: reading one fails, as nothing knows it.
    """

    def __init__(self, scalar: int | None = None) -> None:
        super().__init__()
        self.scalar = scalar
        self.waits: Counter[str] = Counter()
        self.ops: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(func)
        self.ops[name] += 1
        _check_devices(name, args, kwargs)
        if name in FLASH:
            _check_flash(name, args)
        if name == "aten._grouped_mm.default":
            _check_grouped(*args[:2], kwargs.get("offs", args[2] if len(args) > 2 else None))
        first = next((x for x in tree_leaves(args) if isinstance(x, Tensor)), None)
        if first is None or first.device.type != "cuda":
            return func(*args, **kwargs)
        return self._on_device(func, name, first, args, kwargs)

    def _on_device(self, func: Any, name: str, first: Tensor, args: Any, kwargs: Any) -> Any:
        device = kwargs.get("device")
        is_mask = name == "aten.index.Tensor" and any(x is not None and x.dtype == torch.bool for x in args[1])
        if (
            name in WAITS
            or is_mask
            or (name == COPIES[0] and device is not None and torch.device(device).type == "cpu")
        ):
            self.waits[_line_of_areal()] += 1
        if name == WAITS[0] and self.scalar is not None:
            return self.scalar
        if name == WAITS[1]:  # as if all were true
            rows = torch.arange(first.numel(), device=first.device).unsqueeze(1)
            return rows.expand(-1, first.ndim).contiguous()
        return first.clone() if is_mask else func(*args, **kwargs)


@contextmanager
def fake_cuda(scalar: int | None = None) -> Iterator[Watch]:
    """Everything made inside has no data."""
    watch = Watch(scalar)
    with FakeTensorMode(), watch:
        yield watch


def _line_of_areal() -> str:
    frames = [frame for frame in traceback.extract_stack() if "/areal/" in frame.filename]
    return f"{frames[-1].filename.rsplit('/areal/', 1)[1]}:{frames[-1].name}" if frames else "test"


def _check_devices(name: str, args: Any, kwargs: Any) -> None:
    """CPU scalars may join elementwise operators, but no list of tensors, which fake tensors let pass."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    if name in COPIES or len({x.device.type for x in tensors}) < 2:
        return
    is_list = any(isinstance(x, list | tuple) and len(x) > 0 and isinstance(x[0], Tensor) for x in args)
    found = [f"{tuple(x.shape)} on {x.device}" for x in tensors]
    assert not is_list or "index" in name, f"{name} of {', '.join(found)} at {_line_of_areal()}"


def _check_flash(name: str, args: Any) -> None:
    q, k, v = args[1:4] if "backward" in name else args[:3]
    width = q.shape[-1]
    assert q.dtype in SHORT_FLOATS and q.dtype == k.dtype == v.dtype, f"flash of {q.dtype}, {k.dtype}, {v.dtype}"
    assert k.shape == v.shape and k.shape[-1] == width and width % 8 == 0 and width <= 256, (q.shape, k.shape, v.shape)
    assert q.shape[1] % k.shape[1] == 0 and all(x.stride(-1) == 1 for x in (q, k, v))
    boundaries = args[6] if "backward" in name else args[3]
    assert boundaries.dtype == torch.int32 and boundaries.device.type == "cuda" and boundaries.is_contiguous()
    if "backward" in name:
        grad, out, lse = args[0], args[4], args[5]
        assert grad.dtype == out.dtype == q.dtype and lse.dtype == torch.float32 and lse.shape == (q.shape[1], len(q))


def _check_grouped(a: Tensor, b: Tensor, ends: Tensor | None) -> None:
    assert a.dtype == b.dtype, f"grouped product of {a.dtype} and {b.dtype}"
    assert ends is None or ends.dtype == torch.int32
    for x in (a, b):
        unit, other = sorted(x.stride()[-2:])
        assert unit == 1 and other * x.element_size() % 16 == 0, f"rows of 16 bytes wanted, got strides {x.stride()}"
        assert x.storage_offset() * x.element_size() % 16 == 0, "memory that starts at 16 bytes wanted"
