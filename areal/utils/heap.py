# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps Python's full garbage collections short while a run's steps go on. Used by the step loop of the trainers."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Within the block, collections skip the objects that were alive when it began.

    Importing torch and transformers leaves half a million objects that never die. A full collection visits all of them,
    50 ms in which neither rollouts nor training advance; at 20,000 episodes a second they cost a quarter of the time.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
