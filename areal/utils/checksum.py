# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One fingerprint for a set of named weights, computed alike by the trainer that writes and the server that loads.

Called on both sides of a weight update; equal strings mean equal names, shapes, dtypes and bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def weights_checksum(items: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 (hex) over name, shape, dtype and bytes of every tensor, independent of the order of `items`.

    Each tensor is hashed alone and the sorted digests are hashed together, so a stream of tensors is enough. Tensors may
    live on any device, with any strides. A name given twice raises `ValueError`: leave tied duplicates out.
    """
    digests: dict[str, bytes] = {}
    for name, tensor in items:
        if name in digests:
            raise ValueError(f"expected each weight once, got {name!r} twice; leave tied duplicates out")
        digests[name] = _tensor_digest(name, tensor)
    total = hashlib.sha256()
    for name in sorted(digests):
        total.update(digests[name])
    return total.hexdigest()


def _tensor_digest(name: str, tensor: Tensor) -> bytes:
    import torch

    header = f"{name}\0{str(tensor.dtype).removeprefix('torch.')}\0{tuple(tensor.shape)}\0"
    digest = hashlib.sha256(header.encode())
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    digest.update(flat.view(torch.uint8).numpy().data)
    return digest.digest()
