# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Random seeds: one base seed of the run, and everything else derived from it by hashing.

Called once by each process at start (`set_random_seed`) and by the rollout engine for each sample
(`derive_deterministic_seed`). Derivation must never depend on Python's salted `hash`.
"""

from __future__ import annotations

import hashlib
import random

import numpy as np

_SEED_SPACE = 2**32
_DERIVED_SPACE = 2**31
"""Derived seeds are sent to inference servers, some of which hold them in a signed 32-bit integer."""


def set_random_seed(base_seed: int, key: str) -> int:
    """Seed Python, numpy and torch (all devices) for the role `key` of a run; returns the seed.

    seed = (base_seed + sha256(key)) mod 2^32, so that roles and ranks with different keys draw different numbers.
    """
    import torch

    seed = (base_seed + int.from_bytes(hashlib.sha256(key.encode()).digest(), "big")) % _SEED_SPACE
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return seed


def derive_deterministic_seed(identity: str | int, *indices: int) -> int:
    """A seed in [0, 2^31) that depends on all arguments and on nothing else, equal on every machine and run."""
    text = "/".join(map(str, (identity, *indices)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % _DERIVED_SPACE
