# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import random

import numpy as np
import torch

from areal.utils.seeding import derive_deterministic_seed, set_random_seed


def _draws(seed: int, key: str) -> tuple[float, float, float]:
    set_random_seed(seed, key)
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_set_random_seed_same_arguments_repeat_all_three_generators() -> None:
    assert _draws(1, "trainer0") == _draws(1, "trainer0")


def test_set_random_seed_other_key_or_seed_changes_all_three_generators() -> None:
    for other in (_draws(2, "trainer0"), _draws(1, "trainer1")):
        assert all(a != b for a, b in zip(_draws(1, "trainer0"), other, strict=True))


def test_derive_deterministic_seed_depends_on_every_part_and_fits_signed_32_bits() -> None:
    seeds = {derive_deterministic_seed(1, task, sample) for task in range(100) for sample in range(8)}
    assert len(seeds) == 800
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derive_deterministic_seed(1, 23) != derive_deterministic_seed(12, 3)


def test_derive_deterministic_seed_is_fixed_for_ever() -> None:
    assert derive_deterministic_seed("run", 3, 4) == 1269640357
