# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch.distributed as dist


@pytest.fixture(autouse=True)
def no_group_of_other_tests() -> None:
    """`fake_world` pretends a process group only where there is none: engines of other tests leave theirs."""
    if dist.is_initialized():
        dist.destroy_process_group()
