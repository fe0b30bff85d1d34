# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The tokenizer of the arithmetic task: a byte-level BPE of 512 tokens, trained in a second, in ChatML format.

Called by the demo and by tests to make a model directory from nothing. Digits are single tokens, so that sums can be
learnt; merges may span words, so that a prompt is about 32 tokens. Must be loaded by `load_hf_tokenizer` when it lies in
a directory whose config says `qwen2`: transformers 5 ignores every custom tokenizer.json there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from areal.dataset.arithmetic import make_problems

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

PAD_TOKEN, START_TOKEN, END_TOKEN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_NUM_TRAINING_PROBLEMS = 2000


def build_arithmetic_tokenizer(path: str | Path, vocab_size: int = 512) -> PreTrainedTokenizerFast:
    """Train the tokenizer, save it as a Hugging Face tokenizer directory at `path` and return it.

    The result is the same on every call. End of sequence is `<|im_end|>` (id 2), padding `<|endoftext|>` (id 0).
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_train(vocab_size),
        eos_token=END_TOKEN,
        pad_token=PAD_TOKEN,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.save_pretrained(path)
    return tokenizer


def _train(vocab_size: int) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            # No split into words: frequent phrases such as " more. " become single tokens.
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD_TOKEN, START_TOKEN, END_TOKEN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    problems = make_problems("train", "sft", _NUM_TRAINING_PROBLEMS)
    texts = (part for p in problems for part in (f"user\n{p.question}", "\n", "assistant\n", p.worked_answer))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
