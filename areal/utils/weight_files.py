# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Reads weight directories of safetensors files: headers first, so that a bad checkpoint is refused before anything changes.

Called by the embedded server and by ArchonEngine, from any thread; never touches a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from areal.utils.errors import CheckpointError

_INDEX = "model.safetensors.index.json"
_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class TensorHeader:
    """Where a tensor lies and what it is, without its data."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


def read_headers(directory: Path) -> dict[str, TensorHeader]:
    """Name -> header of every tensor in the directory's safetensors files; raises `CheckpointError`.

    A file that is shorter than its header says is refused here.
    """
    headers: dict[str, TensorHeader] = {}
    for file in _weight_files(directory):
        try:
            with safe_open(file, framework="pt") as reader:
                for name in reader.keys():  # noqa: SIM118 - not a mapping
                    if name in headers:
                        raise CheckpointError(
                            f"expected each tensor once, got {name} in {headers[name].file} and {file}; remove stale files"
                        )
                    part = reader.get_slice(name)
                    shape = tuple(part.get_shape())
                    headers[name] = TensorHeader(file=file, shape=shape, dtype=part.get_dtype())
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"expected a complete safetensors file, got {file}: {error}; export it again"
            ) from error
    return headers


def check_headers(headers: Mapping[str, TensorHeader], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `CheckpointError` when a tensor of `expected` is missing, has another shape, or is not a float type.

    Names beyond `expected` are the caller's to judge.
    """
    missing = sorted(expected.keys() - headers.keys())
    if missing:
        raise CheckpointError(
            f"expected {len(expected)} tensors, got none for {missing[:4]} ({len(missing)} missing); export every parameter"
        )
    for name, shape in expected.items():
        header = headers[name]
        if header.shape != tuple(shape):
            raise CheckpointError(
                f"expected {name} of shape {list(shape)}, got {list(header.shape)} in {header.file.name}; "
                "the checkpoint is of another model"
            )
        if header.dtype not in _DTYPES:
            raise CheckpointError(
                f"expected {name} in one of {', '.join(_DTYPES)}, got {header.dtype}; export float weights"
            )


def read_tensors(headers: Mapping[str, TensorHeader]) -> dict[str, Tensor]:
    """The tensors of `headers` on the CPU, in the dtypes of the files."""
    with TensorReader(headers) as reader:
        return reader.read(headers)


class TensorReader:
    """Reads tensors of a directory a few at a time, and keeps its files open meanwhile. Use as a context manager.

    Opening a file reads its header, which takes tens of milliseconds where thousands of experts lie in it.
    """

    def __init__(self, headers: Mapping[str, TensorHeader]) -> None:
        self._headers = headers
        self._files = ExitStack()
        self._open: dict[Path, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._files.close()

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """These tensors on the CPU, in the dtypes of the files; `CheckpointError` when a file cannot be read."""
        tensors: dict[str, Tensor] = {}
        for name in names:
            file = self._headers[name].file
            try:
                if file not in self._open:
                    self._open[file] = self._files.enter_context(safe_open(file, framework="pt"))
                tensors[name] = self._open[file].get_tensor(name)
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"expected to read {file}, got: {error}; was it replaced meanwhile?") from error
        return tensors


def dtype_of(header: TensorHeader) -> torch.dtype:
    """The torch dtype of a checked header."""
    return _DTYPES[header.dtype]


def _weight_files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise CheckpointError(f"expected a directory of safetensors files, got {directory}; check the path")
    index = directory / _INDEX
    if index.is_file():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise CheckpointError(f"expected a weight_map in {index}, got: {error}; export it again") from error
        return [directory / name for name in sorted(names)]
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"expected *.safetensors in {directory}, got none; save with save_pretrained")
    return files
