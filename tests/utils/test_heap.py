# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Which objects full collections visit within `frozen_heap`."""

from __future__ import annotations

import gc
import weakref

from areal.utils.heap import frozen_heap


class Node:
    def __init__(self) -> None:
        self.itself = self


def test_frozen_heap_collections_visit_new_objects_only():
    old = [[] for _ in range(1000)]
    with frozen_heap():
        assert gc.get_freeze_count() >= len(old)
        node = weakref.ref(Node())
        gc.collect()
        assert node() is None
    assert gc.get_freeze_count() == 0


def test_frozen_heap_cycles_of_before_are_collected_after_it():
    node = Node()
    kept = weakref.ref(node)
    with frozen_heap():
        del node
        gc.collect()
        assert kept() is not None
    gc.collect()
    assert kept() is None
