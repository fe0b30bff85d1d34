# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Make a tiny Qwen2-shaped model with random weights and a tokenizer trained on GSM8K text, to try the scripts on a CPU.

`python examples/math/make_tiny_model.py OUT --data path/to/gsm8k/train.jsonl`
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from areal.dataset.small_tokenizer import train_small_tokenizer
from areal.utils.hf_utils import no_progress_bars


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="jsonl file with `question` and `answer`")
    parser.add_argument("--vocab-size", type=int, default=2048)
    args = parser.parse_args(argv)
    records = [json.loads(line) for line in args.data.read_text(encoding="utf-8").splitlines()]
    texts = (f"{record['question']}\n{record['answer']}" for record in records)
    tokenizer = train_small_tokenizer(texts, args.out, args.vocab_size)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with no_progress_bars():
        Qwen2ForCausalLM(config).save_pretrained(args.out)
    print(
        f"wrote a model of {config.hidden_size}x{config.num_hidden_layers} with {len(tokenizer)} tokens to {args.out}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
