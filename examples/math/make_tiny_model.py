# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Make a tiny model with random weights and a tokenizer trained on GSM8K text, to try the scripts on a CPU.

`python examples/math/make_tiny_model.py OUT --data path/to/gsm8k/train.jsonl [--model-type TYPE]`
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerBase, Qwen2Config

from areal.dataset.small_tokenizer import train_small_tokenizer
from areal.experimental.models.archon.model_spec import get_model_spec
from areal.experimental.models.archon.proof.tiny import tiny_configs
from areal.utils.hf_utils import no_progress_bars

MAX_LENGTH = 2048


def qwen2_config() -> PreTrainedConfig:
    return Qwen2Config(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )


def archon_config(model_type: str) -> PreTrainedConfig:
    """That on which `areal archon check` proves the family; of a composite type, the text part."""
    get_model_spec(model_type)  # says how to get a family that is missing
    return tiny_configs(model_type)[0].get_text_config()


def fit(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Vocabulary and token ids of the tokenizer, and room for prompts and answers."""
    config.vocab_size = len(tokenizer)
    config.max_position_embeddings = MAX_LENGTH
    config.bos_token_id = None
    config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="jsonl file with `question` and `answer`")
    parser.add_argument("--vocab-size", type=int, default=2048)
    parser.add_argument("--model-type", help="a type that `areal archon list` has (default: a Qwen2 of 128x4)")
    args = parser.parse_args(argv)
    records = [json.loads(line) for line in args.data.read_text(encoding="utf-8").splitlines()]
    texts = (f"{record['question']}\n{record['answer']}" for record in records)
    tokenizer = train_small_tokenizer(texts, args.out, args.vocab_size)
    torch.manual_seed(0)
    config = archon_config(args.model_type) if args.model_type else qwen2_config()
    fit(config, tokenizer)
    with no_progress_bars():
        AutoModelForCausalLM.from_config(config).save_pretrained(args.out)
    print(
        f"wrote a model of {config.hidden_size}x{config.num_hidden_layers} with {len(tokenizer)} tokens to {args.out}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
