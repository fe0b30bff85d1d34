# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Computed prompts kept for the other samples of their group, which arrive together or a little later.

Keyed by the whole prompt, least recently used first out, bounded in bytes, emptied when the weights change. Owned by the
scheduler.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from areal.engine.native.runner import Prefix


class PrefixCache:
    """Prompt -> `Prefix`, of one weight version at a time."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get_many(
        self,
        prompts: Sequence[tuple[int, ...]],
        compute: Callable[[list[tuple[int, ...]]], list[Prefix]],
    ) -> list[Prefix]:
        """One prefix a prompt; each distinct prompt that is not cached is computed once, all in one call."""
        found = {prompt: self._entries[prompt] for prompt in prompts if prompt in self._entries}
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in found]
        if missing:
            found |= zip(missing, compute(missing), strict=True)
        for prompt, prefix in found.items():
            self._keep(prompt, prefix)
        return [found[prompt] for prompt in prompts]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._bytes = 0

    def _keep(self, prompt: tuple[int, ...], prefix: Prefix) -> None:
        if prompt in self._entries:
            self._entries.move_to_end(prompt)
            return
        self._entries[prompt] = prefix
        self._bytes += prefix.size_bytes
        while self._bytes > self._max_bytes:
            self._bytes -= self._entries.popitem(last=False)[1].size_bytes
