# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A process group of any size in one process: collectives return at once, and mean nothing.

Good for shapes and placements only. Used by `parameters`; must never meet a real run's default group.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore  # its import registers the backend `fake`

from areal.utils.errors import ConfigError


@contextmanager
def fake_world(world_size: int, rank: int) -> Iterator[None]:
    """Be `rank` of `world_size` ranks for a while."""
    if dist.is_initialized():
        raise ConfigError("expected no process group while planning, got one; plan in a process of its own")
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world_size)
    try:
        yield
    finally:
        dist.destroy_process_group()
