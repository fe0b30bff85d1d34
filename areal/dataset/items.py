# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Items of a dataset from question and answer: token ids with a loss mask (sft), or messages with an answer (rl).

Called by the loaders. The boundary between prompt and answer is exact by construction: the two are encoded apart and their
ids joined, never found again by re-encoding a prefix, which merges and special tokens would shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from areal.utils.errors import ConfigError
from areal.utils.hf_utils import apply_chat_template
from areal.utils.logging import getLogger

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

logger = getLogger("dataset")


def prompt_ids(tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
    """Ids of a user's question up to where the answer begins, in the chat format; a plain line without a chat template."""
    if tokenizer.chat_template is None:
        return tokenizer(question + "\n")["input_ids"]
    return apply_chat_template(tokenizer, [{"role": "user", "content": question}], add_generation_prompt=True)


def with_eos(tokenizer: PreTrainedTokenizerBase | None, name: str) -> PreTrainedTokenizerBase:
    """The tokenizer, known to be there and to have an id that ends an answer; else `ConfigError`."""
    if tokenizer is None or tokenizer.eos_token_id is None:
        raise ConfigError(f"dataset {name!r} needs a tokenizer with an eos token, got {tokenizer!r}; pass tokenizer=")
    return tokenizer


def sft_dataset(
    pairs: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase | None, max_length: int | None, name: str
) -> Dataset:
    """Items `{input_ids, loss_mask}`: prompt, answer and eos; the mask is 1 on answer and eos.

    Items longer than `max_length` tokens are dropped, and their number is logged.
    """
    tokenizer = with_eos(tokenizer, name)
    rows = []
    for question, answer in pairs:
        prompt = prompt_ids(tokenizer, question)
        target = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        rows.append({"input_ids": prompt + target, "loss_mask": [0] * len(prompt) + [1] * len(target)})
    return _dataset(_keep_short(rows, [len(row["input_ids"]) for row in rows], max_length, name))


def rl_dataset(
    rows: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase | None, max_length: int | None, name: str
) -> Dataset:
    """The rows (`messages` of one user turn, `answer`, ...), without those whose templated prompt is over `max_length`."""
    if max_length is None:
        return _dataset(rows)
    if tokenizer is None:
        raise ConfigError(f"dataset {name!r} needs a tokenizer to apply max_length={max_length}")
    lengths = [len(prompt_ids(tokenizer, row["messages"][0]["content"])) for row in rows]
    return _dataset(_keep_short(rows, lengths, max_length, name))


def _keep_short(
    rows: Sequence[dict[str, Any]], lengths: Sequence[int], max_length: int | None, name: str
) -> list[dict[str, Any]]:
    if max_length is None:
        return list(rows)
    kept = [row for row, length in zip(rows, lengths, strict=True) if length <= max_length]
    if not kept:
        raise ConfigError(
            f"{name}: all {len(rows)} items are longer than max_length={max_length} tokens (shortest: {min(lengths)}); "
            "raise dataset.max_length"
        )
    if len(kept) < len(rows):
        logger.warning(
            "%s: dropped %d of %d items longer than max_length=%d tokens (longest: %d)",
            name,
            len(rows) - len(kept),
            len(rows),
            max_length,
            max(lengths),
        )
    return kept


def _dataset(rows: Sequence[dict[str, Any]]) -> Dataset:
    from datasets import Dataset

    return Dataset.from_list(list(rows))
