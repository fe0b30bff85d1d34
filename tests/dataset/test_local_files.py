# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset

from areal.dataset.local_files import read_split
from areal.utils.errors import ConfigError

RECORDS = [{"q": f"{i}?", "a": str(i)} for i in range(3)]


@pytest.mark.parametrize(
    "name", ["train.jsonl", "train.parquet", "train-00000-of-00001.parquet", "data/train-0.parquet", "train/0.parquet"]
)
def test_read_split_every_layout_gives_the_same_records(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    if file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    else:
        Dataset.from_list([record | {"other": 1} for record in RECORDS]).to_parquet(file)
    assert read_split(tmp_path, "train", ["q", "a"]) == RECORDS
    assert read_split(file, "train", ["q", "a"]) == RECORDS


def test_read_split_bad_parquet_is_a_config_error(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    for records, message in (([{"q": "x"}], "expected columns"), ([{"q": "x", "a": 1}], "record 1: expected text")):
        Dataset.from_list(records).to_parquet(file)
        with pytest.raises(ConfigError, match=message):
            read_split(tmp_path, "train", ["q", "a"])
    file.write_text("no parquet")
    with pytest.raises(ConfigError, match="expected a Parquet file"):
        read_split(file, "train", ["q", "a"])
    with pytest.raises(ConfigError, match="does not exist"):
        read_split(tmp_path / "nothing", "train", ["q", "a"])
