# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The fast runner: an Archon model over a slot cache. Made by `model_loading`, driven by the scheduler.

Never samples and never knows about requests. Dimensions: R rows, S tokens a row, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from areal.engine.native.decode_context import DecodeContext
from areal.engine.native.fill_contexts import ExtendContext, PromptContext
from areal.engine.native.runner import ModelInfo, Prefix, PreparedWeights
from areal.engine.native.slot_cache import SlotCache
from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.weights.adapter import StateDictAdapter, text_name
from areal.utils.checksum import weights_checksum
from areal.utils.weight_files import check_headers, dtype_of, read_headers, read_tensors

PREFILL_TOKENS = 8192
"""Padded tokens of one prefill call: enough to fill the cores, small enough to bound the activations."""
EXTEND_SCORES = 2**24
"""Query-key pairs of one extension call, which materialises a mask of that size."""


class ArchonRunner:
    """See `runner.Runner`."""

    def __init__(
        self, model: ArchonModel, adapter: StateDictAdapter, info: ModelInfo, dtype: torch.dtype, device: torch.device
    ) -> None:
        """`model` lies on the meta device; the first `apply_weights` gives it its weights."""
        self.info = info
        self.device = device
        self.checksum = ""
        self._model = model
        self._adapter = adapter
        self._dtypes = {name: tensor.dtype for name, tensor in model.state_dict().items()}
        self._cache = SlotCache(model.args, dtype, device)
        # Tokens that each row holds: on the host, so that no step waits for the device to plan the next.
        self._lengths_R = np.zeros(0, np.int64)
        self._longest = 0
        self._steps: DecodeContext | None = None

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> list[Prefix]:
        """See `Runner.prefill`; prompts of similar length share a call, packed one after another."""
        computed: dict[int, Prefix] = {}
        for chunk in _chunks(prompts):
            tokens_N = torch.tensor([token for i in chunk for token in prompts[i]], dtype=torch.long).to(self.device)
            context = PromptContext(self._model.args, self._cache, [len(prompts[i]) for i in chunk], self.device)
            hidden_NE = self._model.run(tokens_N, context.positions_N, context)
            logits_BV = self._model.head(hidden_NE[context.last_rows_B]).float()
            for i, logits_V, kv in zip(chunk, logits_BV, context.kept(), strict=True):
                computed[i] = Prefix(tokens=prompts[i], logits=logits_V.clone(), kv=kv)
        return [computed[i] for i in range(len(prompts))]

    def append(self, prefixes: Sequence[Prefix]) -> None:
        """See `Runner.append`; a prefix that repeats in neighbouring rows is copied to all of them at once."""
        first = len(self._lengths_R)
        self._use_lengths(np.append(self._lengths_R, [len(p.tokens) for p in prefixes]))
        self._cache.reserve(len(self._lengths_R), self._longest + 1)
        for _, run in groupby(enumerate(prefixes, first), key=lambda pair: id(pair[1])):
            rows, same = zip(*run)
            self._cache.write_prefix(slice(rows[0], rows[-1] + 1), same[0].kv)

    def decode(self, tokens_R: Tensor) -> Tensor:
        """See `Runner.decode`."""
        self._longest += 1
        has_moved = self._cache.reserve(len(self._lengths_R), self._longest)
        if self._steps is None or has_moved:
            # A copy: on the CPU the tensor would share the array, and both count up.
            self._steps = DecodeContext(self._cache, torch.tensor(self._lengths_R, device=self.device))
        self._steps.advance(self._longest)
        self._lengths_R += 1
        hidden_RE = self._model.run(tokens_R, self._steps.positions_R, self._steps)
        return self._model.head(hidden_RE).float()

    def retain(self, order: Sequence[int]) -> None:
        """See `Runner.retain`. Rows that stay in place cost nothing; rows that swap places are not expected."""
        moves = [(old, new) for new, old in enumerate(order) if old != new]
        if moves:
            sources, targets = [old for old, _ in moves], [new for _, new in moves]
            self._cache.move(sources, targets, int(self._lengths_R[sources].max()))
        self._use_lengths(self._lengths_R[list(order)])

    def rebuild(self, prefixes: Sequence[Prefix], suffixes: Sequence[Sequence[int]]) -> None:
        """See `Runner.rebuild`. The suffixes of many rows are computed together on top of the shared prompts.

        States of recurrent layers cannot be continued over padding: there, whole sequences are computed anew.
        """
        self._use_lengths(self._lengths_R[:0])
        self._cache.clear()
        if not prefixes:
            return
        if self._cache.recurrent is not None:
            self.append(self.prefill([(*p.tokens, *s) for p, s in zip(prefixes, suffixes, strict=True)]))
            return
        self.append(prefixes)
        new_tokens = max(len(s) for s in suffixes)
        if new_tokens == 0:
            return
        total = self._longest + new_tokens
        self._cache.reserve(len(prefixes), total)
        rows_per_call = max(1, EXTEND_SCORES // (new_tokens * total))
        for first in range(0, len(prefixes), rows_per_call):
            tokens_BS, _ = self._pad(suffixes[first : first + rows_per_call], new_tokens)
            starts_B = torch.from_numpy(self._lengths_R[first : first + rows_per_call]).to(self.device)
            positions_BS = starts_B[:, None] + torch.arange(new_tokens, device=self.device)
            context = ExtendContext(self._cache, first, positions_BS)
            self._model.run(tokens_BS.flatten(), positions_BS.flatten(), context)
        self._use_lengths(self._lengths_R + [len(s) for s in suffixes])

    def read_weights(self, directory: Path) -> PreparedWeights:
        """See `Runner.read_weights`.

        The checksum is of the converted tensors mapped back to HF names and the dtypes of the files: it equals the
        writer's only if our parameters hold the same numbers.
        """
        files = read_headers(directory)
        headers = {text_name(name): header for name, header in files.items()}
        weight_map = self._adapter.weight_map
        entries = weight_map.plan(headers)
        check_headers(headers, {name: shape for entry in entries for name, shape in entry.hf_shapes().items()})
        tensors = {text_name(name): tensor for name, tensor in read_tensors(files).items()}
        state = {name: tensor.to(self._dtypes[name]) for name, tensor in weight_map.from_hf(tensors).items()}
        exported = (
            (name, tensor.to(dtype_of(headers[name])) if name in headers else tensor)
            for name, tensor in weight_map.to_hf(state)
        )
        return PreparedWeights(payload=state, checksum=weights_checksum(exported))

    def apply_weights(self, weights: PreparedWeights) -> None:
        """See `Runner.apply_weights`; copies in place, or moves in when the parameters are still on the meta device."""
        is_first = not self.checksum
        self._model.load_state_dict(weights.payload, strict=True, assign=is_first)
        if is_first:
            self._model.to(self.device).requires_grad_(False)
            self._model.fuse()
        self.checksum = weights.checksum

    def _use_lengths(self, lengths_R: NDArray[np.int64]) -> None:
        """The rows are others now, or hold other tokens than a step has added."""
        self._lengths_R = lengths_R
        self._longest = int(lengths_R.max(initial=0))
        self._steps = None

    def _pad(self, rows: Sequence[Sequence[int]], width: int = 0) -> tuple[Tensor, list[int]]:
        """Right-padded int64 `[B, S]` on the device, and the lengths."""
        lengths = [len(row) for row in rows]
        width = max(width, *lengths)
        tokens_BS = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], dtype=torch.long)
        return tokens_BS.to(self.device), lengths


def _chunks(prompts: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
    """Indices of prompts in calls of at most `PREFILL_TOKENS` padded tokens, similar lengths together."""
    chunk: list[int] = []
    for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
        if chunk and (len(chunk) + 1) * len(prompts[i]) > PREFILL_TOKENS:
            yield chunk
            chunk = []
        chunk.append(i)
    if chunk:
        yield chunk
