# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Chooses the loader of a dataset from its configuration, by explicit names.

Called by driver scripts. A path is a registered name or hub id, or local data that is recognised by what it holds; the
name of a folder never decides. Each loader module offers
`load(path, *, split, type, tokenizer, max_length, **dataset_kwargs) -> datasets.Dataset`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from areal.dataset.local_files import find_split_file, first_record
from areal.utils.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase, ProcessorMixin

    from areal.api.cli_args import TrainDatasetConfig, ValidDatasetConfig


@dataclass(frozen=True)
class DatasetEntry:
    """A registered dataset: the module of its loader, the item types it makes, other names for it, and its columns.

    Local files whose records have all of `columns` are taken for this dataset; no columns: never.
    """

    module: str
    types: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    columns: frozenset[str] = frozenset()


DATASETS: dict[str, DatasetEntry] = {
    "gsm8k": DatasetEntry(
        module="areal.dataset.gsm8k",
        types=("sft", "rl"),
        aliases=("openai/gsm8k",),
        columns=frozenset({"question", "answer"}),
    ),
    "arithmetic": DatasetEntry(module="areal.dataset.arithmetic", types=("sft", "rl")),
}

VALID_DATASETS: tuple[str, ...] = tuple(DATASETS)
"""Registered names; local paths are accepted besides them."""

_COMMON_ARGUMENTS = {"path", "split", "type", "tokenizer", "max_length"}
_SAVED_DATASET_FILES = ("dataset_info.json", "dataset_dict.json")
"""Files that mark a folder as written by `datasets.save_to_disk`."""


def get_custom_dataset(
    split: str | None = None,
    dataset_config: TrainDatasetConfig | ValidDatasetConfig | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    processor: ProcessorMixin | None = None,
    **kwargs: Any,
) -> Dataset:
    """Load the dataset that `dataset_config` names.

    `split` wins over `dataset_config.split`. `path`, `type` and `max_length` may be given as keywords, with or without a
    config; all other keywords go to the loader, over `dataset_config.dataset_kwargs`. `path` is a registered name, its hub
    id, a local `.jsonl` file, a folder with `{split}.jsonl`, or a folder written by `datasets.save_to_disk` (used as it is).

    Raises `ConfigError` for an unknown path or type, and for data that is missing, empty or malformed.
    """
    options: dict[str, Any] = {"path": "", "type": "", "max_length": None}
    if dataset_config is not None:
        split = split or dataset_config.split
        options = {"path": dataset_config.path, "type": dataset_config.type, "max_length": dataset_config.max_length}
        kwargs = {**dataset_config.dataset_kwargs, **kwargs}
    options |= {key: kwargs.pop(key) for key in options if key in kwargs}
    if processor is not None:
        raise ConfigError("none of the datasets here uses a processor; pass a tokenizer")
    if split is None:
        raise ConfigError("a split is needed: pass split= or set dataset.split")
    path = options["path"]
    if not path:
        raise ConfigError(f"dataset.path is empty; set it to one of {list(VALID_DATASETS)} or to local data")
    entry = _entry_for(path, split)
    if entry is None:
        return _load_saved(Path(path), split)
    if options["type"] not in entry.types:
        raise ConfigError(f"dataset {path!r} has items of type {list(entry.types)}, got type={options['type']!r}")
    module = importlib.import_module(entry.module)
    _check_kwargs(path, module.load, kwargs)
    return module.load(
        path, split=split, type=options["type"], tokenizer=tokenizer, max_length=options["max_length"], **kwargs
    )


def _check_kwargs(path: str, load: Callable[..., Dataset], kwargs: dict[str, Any]) -> None:
    accepted = sorted(inspect.signature(load).parameters.keys() - _COMMON_ARGUMENTS)
    if unknown := sorted(kwargs.keys() - set(accepted)):
        raise ConfigError(f"dataset {path!r} does not know {unknown}; dataset_kwargs may hold {accepted or 'nothing'}")


def _entry_for(path: str, split: str) -> DatasetEntry | None:
    """The entry of a name, a hub id or local records; None for a folder of `save_to_disk`."""
    for name, entry in DATASETS.items():
        if path == name or path in entry.aliases:
            return entry
    local = Path(path).expanduser()
    if not local.exists():
        raise ConfigError(
            f"dataset {path!r} is neither a registered name {_all_names()} nor an existing file or folder; "
            "check dataset.path"
        )
    if any((local / name).exists() for name in _SAVED_DATASET_FILES):
        return None
    file = find_split_file(local, split)
    columns = first_record(file).keys()
    for entry in DATASETS.values():
        if entry.columns and entry.columns <= columns:
            return entry
    known = {name: sorted(entry.columns) for name, entry in DATASETS.items() if entry.columns}
    raise ConfigError(f"{file} has columns {sorted(columns)}; expected those of a known dataset: {known}")


def _all_names() -> list[str]:
    return [name for key, entry in DATASETS.items() for name in (key, *entry.aliases)]


def _load_saved(folder: Path, split: str) -> Dataset:
    from datasets import DatasetDict, load_from_disk

    saved = load_from_disk(str(folder.expanduser()))
    if isinstance(saved, DatasetDict):
        if split not in saved:
            raise ConfigError(f"{folder} has no split {split!r}; it has {sorted(saved)}")
        saved = saved[split]
    if len(saved) == 0:
        raise ConfigError(f"the dataset in {folder} is empty")
    return saved
