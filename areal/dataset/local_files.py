# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Local data, JSON lines or Parquet: which file holds a split, and records that are checked one by one.

Called by the registry and by loaders. A malformed line names its file and number; nothing is skipped silently.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from areal.utils.errors import ConfigError


def find_split_file(path: Path, split: str) -> Path:
    """The JSON-lines file of a split: `path` itself when it is a file (of that split), else `path/{split}.jsonl`."""
    if path.is_file():
        return path
    file = path / f"{split}.jsonl"
    if not file.is_file():
        found = sorted(other.name for other in path.glob("*.jsonl")) if path.is_dir() else []
        raise ConfigError(f"expected {file} for split {split!r}; {path} has {found or 'no .jsonl files'}")
    return file


def first_record(file: Path) -> dict[str, Any]:
    """The first record of a file, to see its columns."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                return _parse(line, file, number)
    raise ConfigError(f"{file} is empty; expected one JSON object a line")


def read_jsonl(file: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """All records, with the text `columns` each must have. Blank lines are allowed.

    `ConfigError` with file and line number for text that is not UTF-8 or not a JSON object, and for a missing or non-text
    column; also for a file without records.
    """
    columns = list(columns)
    records = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            record = _parse(line, file, number)
            for column in columns:
                if not isinstance(record.get(column), str):
                    got = repr(record[column])[:80] if column in record else f"only {sorted(record)}"
                    raise ConfigError(f"{file}:{number}: expected text in column {column!r}, got {got}")
            records.append({column: record[column] for column in columns})
    if not records:
        raise ConfigError(f"{file} is empty; expected one JSON object a line with columns {columns}")
    return records


def read_split(path: Path, split: str, columns: Iterable[str]) -> list[dict[str, str]]:
    """The records of a split with the text `columns` each must have, from JSON lines or Parquet.

    `path` is a file (of that split) or a folder with `{split}.jsonl`, or with Parquet files as the hub lays them out:
    `{split}.parquet`, `{split}-*.parquet`, the same below `data`, or all files of a folder `{split}`.
    """
    if not path.exists():
        raise ConfigError(f"expected local data at {path}, which does not exist; check dataset.path and dataset_kwargs")
    parquet = _parquet_files(path, split)
    if not parquet:
        return read_jsonl(find_split_file(path, split), columns)
    records = [record for file in parquet for record in _read_parquet(file, list(columns))]
    if not records:
        raise ConfigError(f"{', '.join(map(str, parquet))} holds no records")
    return records


def _parquet_files(path: Path, split: str) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    patterns = [f"{split}.parquet", f"{split}-*.parquet", f"{split}/*.parquet"]
    patterns += [f"data/{pattern}" for pattern in patterns]
    return next((found for pattern in patterns if (found := sorted(path.glob(pattern)))), [])


def _read_parquet(file: Path, columns: list[str]) -> list[dict[str, str]]:
    import pyarrow
    from pyarrow import parquet

    try:
        has = parquet.read_schema(file).names
        missing = [column for column in columns if column not in has]
        if missing:
            raise ConfigError(f"{file}: expected columns {columns}, got {sorted(has)}")
        records = parquet.read_table(file, columns=columns).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigError(f"{file}: expected a Parquet file, got: {error}") from error
    for number, record in enumerate(records, 1):
        for column in columns:
            if not isinstance(record[column], str):
                raise ConfigError(
                    f"{file}, record {number}: expected text in column {column!r}, got {repr(record[column])[:80]}"
                )
    return records


def _parse(line: bytes, file: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(
            f"{file}:{number}: expected a JSON object in UTF-8, got {line[:80]!r} ({error}); correct the line"
        ) from error
    if not isinstance(record, dict):
        raise ConfigError(f"{file}:{number}: expected a JSON object, got {line[:80]!r}; correct the line")
    return record
