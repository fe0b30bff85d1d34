# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""GSM8K (Cobbe et al. 2021): grade-school word problems whose answers end in `#### N`.

Reads local JSON lines with columns question and answer, or the hub dataset `openai/gsm8k`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from areal.dataset.items import rl_dataset, sft_dataset
from areal.dataset.local_files import find_split_file, read_jsonl
from areal.utils.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

HUB_ID = "openai/gsm8k"
HUB_CONFIG = "main"
COLUMNS = ("question", "answer")
INSTRUCTION = "Please put your final answer within \\boxed{}."
"""Added to each RL prompt on a line of its own, so that the reward can find the answer."""


def load(
    path: str,
    *,
    split: str,
    type: str,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_length: int | None = None,
    size: int | None = None,
) -> Dataset:
    """GSM8K items; the first `size` problems, None for all.

    sft: `input_ids`, `loss_mask` of question, worked answer and eos. rl: `messages` (question and instruction) and `answer`
    (the worked answer, ending in `#### N`). `max_length` counts templated tokens: the whole item for sft, the prompt for rl.
    """
    if size is not None and size < 1:
        raise ConfigError(f"size: expected at least 1 problem, got {size}; leave it out for all")
    records = _records(path, split)[:size]
    if type == "sft":
        return sft_dataset([(r["question"], r["answer"]) for r in records], tokenizer, max_length, "gsm8k")
    rows = [
        {"messages": [{"role": "user", "content": f"{r['question']}\n{INSTRUCTION}"}], "answer": r["answer"]}
        for r in records
    ]
    return rl_dataset(rows, tokenizer, max_length, "gsm8k")


def _records(path: str, split: str) -> list[dict[str, str]]:
    local = Path(path).expanduser()
    if local.exists():
        return read_jsonl(find_split_file(local, split), COLUMNS)
    from datasets import get_dataset_split_names, load_dataset

    try:
        splits = get_dataset_split_names(HUB_ID, HUB_CONFIG)
        if split not in splits:
            raise ConfigError(f"{HUB_ID} has no split {split!r}; it has {splits}")
        return list(load_dataset(HUB_ID, HUB_CONFIG, split=split))
    except (OSError, FileNotFoundError) as error:
        raise ConfigError(
            f"could not fetch {HUB_ID} from the hub ({error}); for an offline run set dataset.path to a folder with "
            f"{split}.jsonl (columns {list(COLUMNS)})"
        ) from error
