# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The sample stream: every item of a dataset exactly once an epoch, in an order that survives any interruption.

Trainers iterate it in batches (SFT, evaluation); the rollout engine takes single samples and reports which ones were
consumed (RL, where they finish out of order). Samples are numbered by a global index `k`, counted over epochs, so that the
position of a run is a few integers. The order depends on the seed and the epoch alone: it must never depend on what was
drawn before. Used from one thread; needs no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from areal.utils.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from areal.api.cli_args import TrainDatasetConfig, ValidDatasetConfig

Collate = Callable[[list[Any]], Any]

_NUM_PROBES = 8
"""Items that the fingerprint looks at: enough to tell datasets apart, few enough to cost nothing."""


class Indexable(Protocol):
    """What a dataset must offer (`datasets.Dataset`, a list, ...)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def create_dataloader(
    dataset: Indexable,
    dataset_config: TrainDatasetConfig | ValidDatasetConfig,
    seed: int,
    collate_fn: Collate | None = None,
) -> SampleLoader:
    """The sample stream of a dataset by its configuration (`batch_size`, `shuffle`, `drop_last`)."""
    return SampleLoader(
        dataset,
        batch_size=dataset_config.batch_size,
        shuffle=dataset_config.shuffle,
        drop_last=dataset_config.drop_last,
        seed=seed,
        collate_fn=collate_fn,
    )


class SampleLoader:
    """Deterministic random access to a dataset, with a record of what was consumed.

    A sample is *issued* by `next_sample` and *consumed* by `mark_consumed`; the state to save is only what was consumed.
    Killed and restored, the loader issues again what was in flight:

        k=0,1,2,3 issued; 0 and 2 consumed; state {oldest_unconsumed: 1, consumed_ahead: [2]}
        restored: issues 1, 3, 4, ...

    Iteration is the synchronous shorthand: the batches left in the current epoch, each marked consumed as it is handed out.
    """

    def __init__(
        self,
        dataset: Indexable,
        *,
        batch_size: int,
        shuffle: bool,
        drop_last: bool,
        seed: int,
        collate_fn: Collate | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
        num_items = len(dataset)
        self.dataset = dataset
        self.batch_size = batch_size
        self.collate_fn = collate_fn
        self._shuffle = shuffle
        self._seed = seed
        self.num_samples_per_epoch = num_items // batch_size * batch_size if drop_last else num_items
        if self.num_samples_per_epoch == 0:
            raise ConfigError(
                f"the dataset has {num_items} items, which gives no batch of {batch_size} (drop_last={drop_last}); "
                "lower batch_size, set drop_last=false or use more data"
            )
        self._order: tuple[int, np.ndarray] | None = None
        self._cursor = 0
        self._oldest = 0
        self._ahead: set[int] = set()

    def __len__(self) -> int:
        """Batches in one epoch."""
        return -(-self.num_samples_per_epoch // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        """The batches left in the current epoch (all of them at its start); `collate_fn` is applied when there is one."""
        epoch = self._oldest // self.num_samples_per_epoch
        end = (epoch + 1) * self.num_samples_per_epoch
        while indices := self._next_indices(end):
            items = [self[k] for k in indices]
            self.mark_consumed(indices)
            yield self.collate_fn(items) if self.collate_fn is not None else items

    def __getitem__(self, k: int) -> Any:
        """The item with global index `k`; epoch `k // num_samples_per_epoch` decides the order."""
        epoch, position = divmod(k, self.num_samples_per_epoch)
        return self.dataset[int(self._order_of(epoch)[position])]

    def next_sample(self) -> tuple[int, Any]:
        """Issue the next sample: its global index and the item. Never ends; skips what was consumed before a restart."""
        k = self._next_unconsumed()
        self._cursor = k + 1
        return k, self[k]

    def mark_consumed(self, indices: Iterable[int]) -> None:
        """Record samples that were trained on or rejected: no restart issues them again.

        `ValueError` for a sample that was never issued or is consumed already: it would be trained on twice.
        """
        for k in indices:
            if k < self._oldest or k in self._ahead:
                raise ValueError(f"sample {k} was already consumed; each sample may be reported once")
            if not 0 <= k < self._cursor:
                raise ValueError(f"sample {k} was never issued: next_sample has reached {self._cursor}")
            self._ahead.add(k)
            while self._oldest in self._ahead:
                self._ahead.remove(self._oldest)
                self._oldest += 1

    def state_dict(self) -> dict[str, Any]:
        """Position of the run, as JSON-ready data."""
        return {
            "oldest_unconsumed": self._oldest,
            "consumed_ahead": sorted(self._ahead),
            "fingerprint": self.fingerprint(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at the oldest sample that was not consumed. `CheckpointError` when the data or the order is another."""
        mine = self.fingerprint()
        if state["fingerprint"] != mine:
            raise CheckpointError(
                f"the checkpoint was made with other data or another order: expected {mine}, got {state['fingerprint']}; "
                "use the dataset, seed, shuffle, drop_last and batch_size of that run, or start a new trial"
            )
        self._oldest = int(state["oldest_unconsumed"])
        self._ahead = {int(k) for k in state["consumed_ahead"]}
        self._cursor = self._oldest

    def fingerprint(self) -> dict[str, Any]:
        """What decides the stream: order parameters and a hash over a few items spread over the dataset."""
        num_items = len(self.dataset)
        probes = sorted({num_items * i // _NUM_PROBES for i in range(_NUM_PROBES)} | {num_items - 1})
        content = hashlib.sha256()
        for index in probes:
            content.update(json.dumps(self.dataset[index], sort_keys=True, default=_type_name).encode())
        return {
            "num_items": num_items,
            "num_samples_per_epoch": self.num_samples_per_epoch,
            "seed": self._seed,
            "shuffle": self._shuffle,
            "content": content.hexdigest()[:16],
        }

    def _next_indices(self, end: int) -> list[int]:
        """Up to a batch of samples below `end`, issued."""
        indices: list[int] = []
        while len(indices) < self.batch_size and (k := self._next_unconsumed()) < end:
            indices.append(k)
            self._cursor = k + 1
        return indices

    def _next_unconsumed(self) -> int:
        """The first index that was neither issued since the start nor consumed before it."""
        k = max(self._cursor, self._oldest)
        while k in self._ahead:
            k += 1
        return k

    def _order_of(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, epoch_order(len(self.dataset), self._seed, epoch, self._shuffle))
        return self._order[1]


def epoch_order(num_items: int, seed: int, epoch: int, shuffle: bool) -> np.ndarray:
    """Dataset indices in the order of an epoch, int64 [num_items].

    Sorts the items by SplitMix64 hashes (Steele, Lea and Flood 2014) of (seed, epoch, index): specified here to the bit,
    because a library's shuffle may change with its version, and a resumed run would then see other data.
    """
    items = np.arange(num_items, dtype=np.uint64)
    if not shuffle:
        return items.astype(np.int64)
    key = _splitmix64(_splitmix64(np.array([seed % 2**64], np.uint64)) + np.uint64(epoch))
    return np.argsort(_splitmix64(key + items), kind="stable")


def _splitmix64(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _type_name(value: object) -> str:
    return type(value).__name__
