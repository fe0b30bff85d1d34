# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Directories of safetensors: writing one from a stream of tensors, and reading its header index without the tensors.

Actor workers write weight versions with `write_weights`; the weight sync compares `read_index` of two versions before any
server is told. A directory is complete or absent, and loadable by `from_pretrained` once a `config.json` lies in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from areal.utils.errors import CheckpointError
from areal.utils.fs import AtomicDirectory

if TYPE_CHECKING:
    import torch
    from torch import Tensor

WeightIndex = dict[str, tuple[str, tuple[int, ...]]]
"""Tensor name -> (dtype as safetensors names it, such as `BF16`; shape)."""

MAX_SHARD_BYTES = 4 * 2**30  # bounds the memory of the writer: tensors of one shard are held at a time
_MAX_HEADER_BYTES = 100_000_000  # the limit of the format


def write_weights(
    path: str | Path,
    items: Iterable[tuple[str, Tensor]],
    dtype: torch.dtype | None = None,
    *,
    fsync: bool = False,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> dict[str, Any]:
    """Write named tensors as the directory `path`, atomically; floating ones are cast to `dtype` if given.

    Returns `{"checksum": str, "index": WeightIndex}` of what was written. `items` is read once, one shard in memory at a
    time; each name may come once and tensors must not share memory, so leave tied duplicates out. `fsync` is off because
    weight versions only have to reach other processes, through the page cache; switch it on for files to keep.
    Raises `CheckpointError` if the disk is full; `path` is then as it was before.
    """
    from areal.utils.checksum import weights_checksum

    with AtomicDirectory(path, fsync=fsync) as tmp:
        tmp.mkdir()
        writer = _ShardWriter(tmp, max_shard_bytes)
        checksum = weights_checksum(writer.consume(items, dtype))
        writer.finish()
        index = read_index(tmp)
    return {"checksum": checksum, "index": index}


class _ShardWriter:
    """Collects tensors and writes a file whenever the next one would exceed the shard size."""

    def __init__(self, folder: Path, max_shard_bytes: int) -> None:
        self._folder = folder
        self._max_shard_bytes = max_shard_bytes
        self._shard: dict[str, Tensor] = {}
        self._shard_bytes = 0
        self._files: list[tuple[Path, list[str], int]] = []

    def consume(self, items: Iterable[tuple[str, Tensor]], dtype: torch.dtype | None) -> Iterator[tuple[str, Tensor]]:
        """Take every item in and pass it on as it will be written: on CPU, cast, contiguous, owning its memory."""
        for name, tensor in items:
            tensor = tensor.detach().cpu()
            if dtype is not None and tensor.is_floating_point():
                tensor = tensor.to(dtype)
            tensor = tensor.contiguous()
            if tensor.untyped_storage().nbytes() != tensor.nbytes:  # a view: safetensors refuses shared memory
                tensor = tensor.clone()
            if self._shard and self._shard_bytes + tensor.nbytes > self._max_shard_bytes:
                self._flush()
            self._shard[name] = tensor
            self._shard_bytes += tensor.nbytes
            yield name, tensor

    def _flush(self) -> None:
        from safetensors.torch import save_file

        file = self._folder / f"shard-{len(self._files)}.safetensors"
        save_file(self._shard, file, metadata={"format": "pt"})
        self._files.append((file, list(self._shard), self._shard_bytes))
        self._shard, self._shard_bytes = {}, 0

    def finish(self) -> None:
        """Write the last shard and give the files the names `from_pretrained` looks for."""
        if self._shard or not self._files:
            self._flush()
        if len(self._files) == 1:
            self._files[0][0].rename(self._folder / "model.safetensors")
            return
        weight_map = {}
        for number, (file, names, _) in enumerate(self._files, start=1):
            final = f"model-{number:05d}-of-{len(self._files):05d}.safetensors"
            file.rename(self._folder / final)
            weight_map |= dict.fromkeys(names, final)
        total = sum(num_bytes for _, _, num_bytes in self._files)
        body = json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=1)
        (self._folder / "model.safetensors.index.json").write_text(body)


def read_index(path: str | Path) -> WeightIndex:
    """Names, dtypes and shapes of a directory of safetensors, from the headers alone (about 1 ms a file).

    Raises `CheckpointError` if there is none, or if a file is damaged or shorter than its header says.
    """
    files = sorted(Path(path).glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"expected *.safetensors in {path}, found none")
    index: WeightIndex = {}
    for file in files:
        for name, entry in _read_header(file).items():
            if name in index:
                raise CheckpointError(f"{file} holds {name!r}, which another file of the same directory holds as well")
            index[name] = (entry["dtype"], tuple(entry["shape"]))
    return index


def _read_header(file: Path) -> dict[str, Any]:
    num_bytes = file.stat().st_size
    with file.open("rb") as stream:
        header_bytes = int.from_bytes(stream.read(8), "little")
        if not 2 <= header_bytes <= min(num_bytes - 8, _MAX_HEADER_BYTES):
            raise CheckpointError(
                f"{file} ({num_bytes} bytes) is no safetensors file: its header length is {header_bytes}"
            )
        try:
            header = json.loads(stream.read(header_bytes))
        except ValueError as error:
            raise CheckpointError(f"the safetensors header of {file} is damaged: {error}") from error
    header.pop("__metadata__", None)
    expected = 8 + header_bytes + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if num_bytes != expected:
        raise CheckpointError(f"{file} is damaged: expected {expected} bytes, got {num_bytes}; write it again")
    return header


def index_differences(expected: WeightIndex, got: WeightIndex) -> list[str]:
    """One line for each tensor that is missing, unexpected, or of another dtype or shape; empty if the indices agree."""
    lines = [f"{name}: expected {expected[name]}, got nothing" for name in sorted(expected.keys() - got.keys())]
    lines += [f"{name}: expected nothing, got {got[name]}" for name in sorted(got.keys() - expected.keys())]
    shared = sorted(expected.keys() & got.keys())
    return lines + [f"{n}: expected {expected[n]}, got {got[n]}" for n in shared if expected[n] != got[n]]
