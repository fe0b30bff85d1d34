# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Sample rows for a new dataset: `python -m areal.harness.scaffold.samples --to FOLDER [--source PATH] --columns Q,A`.

Takes the first rows of the user's own files, or makes small sums in words. Run by the skill add-dataset, in its stage; the
reader of the rows is `areal.dataset`, in the same process, found by its dotted name.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from areal.utils.dynamic_import import import_from_string
from areal.utils.errors import ConfigError

NUM_TRAIN, NUM_TEST = 64, 16
MAX_ROW_BYTES = 16 << 10
READER = "areal.dataset.local_files.read_split"
NAMES = ("Tom", "Ann", "Sam", "Mia", "Leo", "Eva", "Max", "Zoe")
THINGS = ("apples", "books", "coins", "pens", "cards", "shells")


def made_rows(count: int, columns: tuple[str, str], seed: int) -> list[dict[str, str]]:
    """Different sums in words, each with a worked answer that ends in `#### N`."""
    rng = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < count:
        who, thing, have, more = rng.choice(NAMES), rng.choice(THINGS), rng.randint(2, 15), rng.randint(2, 9)
        question = f"{who} has {have} {thing}. {who} buys {more} more. How many {thing} does {who} have now?"
        rows[question] = f"{have}+{more}={have + more}\n#### {have + more}"
    return [dict(zip(columns, row, strict=True)) for row in rows.items()]


def taken_rows(source: Path, columns: tuple[str, str]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The first training and test rows of the user's data; without a test split, rows after those taken for training."""
    read = import_from_string(READER)
    train = list(_short(read(source, "train", columns)))
    try:
        test = list(_short(read(source, "test", columns))) if source.is_dir() else []
    except ConfigError:
        test = []  # there is no test split
    if not test:
        cut = min(NUM_TRAIN, max(1, len(train) * 4 // 5))
        train, test = train[:cut], train[cut:] or train[-1:]
    return train[:NUM_TRAIN], test[:NUM_TEST]


def _short(rows: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    return (row for row in rows if len(json.dumps(row)) <= MAX_ROW_BYTES)


def main() -> int:
    """Write `train.jsonl` and `test.jsonl`; 1 with a message when the source cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--source", default="")
    parser.add_argument("--columns", required=True)
    args = parser.parse_args()
    question, _, answer = args.columns.partition(",")
    columns = (question, answer)
    try:
        splits = taken_rows(Path(args.source), columns) if args.source else None
    except ConfigError as error:
        sys.stderr.write(f"the source does not fit: {error}\n")
        return 1
    train, test = splits or (made_rows(NUM_TRAIN, columns, 0), made_rows(NUM_TEST, columns, 1))
    if not train:
        sys.stderr.write(f"{args.source} has no row of at most {MAX_ROW_BYTES} bytes\n")
        return 1
    args.to.mkdir(parents=True)
    for name, rows in (("train", train), ("test", test)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (args.to / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
