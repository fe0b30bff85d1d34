# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Small tokenizers for small models: Qwen2's pipeline with merges trained on a given text, in ChatML format.

Called by examples and tests to make a model directory from nothing. The pipeline is exactly Qwen2's, since transformers 5
rebuilds it for every directory whose config says `qwen2` and ignores any other that its tokenizer.json describes.
Digits are single tokens, so that sums can be learnt.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from areal.dataset.arithmetic import make_problems

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PAD_TOKEN, START_TOKEN, END_TOKEN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_NUM_TRAINING_PROBLEMS = 2000


def train_small_tokenizer(texts: Iterable[str], path: str | Path, vocab_size: int) -> PreTrainedTokenizerBase:
    """Train a tokenizer of at most `vocab_size` tokens on `texts`, save it at `path` and return it.

    The result depends on its arguments alone. End of sequence is `<|im_end|>`, padding `<|endoftext|>` (id 0).
    """
    from transformers import Qwen2Tokenizer

    tokenizer = Qwen2Tokenizer(vocab={}, merges=[]).train_new_from_iterator(
        texts, vocab_size, new_special_tokens=[START_TOKEN, END_TOKEN], show_progress=False
    )
    tokenizer.eos_token, tokenizer.pad_token = END_TOKEN, PAD_TOKEN
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(path)
    return tokenizer


def build_arithmetic_tokenizer(path: str | Path, vocab_size: int = 512) -> PreTrainedTokenizerBase:
    """The tokenizer of the arithmetic task: prompts of about 40 tokens, worked answers of about 25."""
    problems = make_problems("train", "sft", _NUM_TRAINING_PROBLEMS)
    texts = (part for p in problems for part in (f"user\n{p.question}", "assistant\n", p.worked_answer))
    return train_small_tokenizer(texts, path, vocab_size)
