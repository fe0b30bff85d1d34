# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Forward and backward of a packed batch: Archon's decoder against the HF model on the same batch, packed and padded.

    OMP_NUM_THREADS=1 python benchmarks/archon_vs_hf.py --data path/to/gsm8k/train.jsonl

A qwen3 of 10 M parameters (`--size 1b` for one of 1 B) and about 8,192 tokens with the lengths of GSM8K (words * 1.3), the
same random weights on both sides; the loss is the mean negative log-prob of all next tokens. HF gets the packed batch with
positions that start over (it masks by them) and the padded one with an attention mask. Legs run interleaved; a leg's time is
the least of its rounds, in CPU seconds on a CPU and in wall seconds on a GPU. Ratios, not rates, are the result.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen3Config

from areal.experimental.models.archon.model_spec import get_model_spec
from areal.experimental.models.archon.parallel.scoring import ScoringDecoder
from areal.models.packed_attention.layout import PackedLayout

SIZES = {
    "10m": {"hidden_size": 320, "intermediate_size": 960, "num_hidden_layers": 6, "heads": (5, 1), "vocab_size": 8192},
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 18,
        "heads": (16, 8),
        "vocab_size": 151936,
    },
}
TARGETS = {"HF packed": 1.3, "HF padded": 2.0}


def model_config(size: str) -> Qwen3Config:
    fields = dict(SIZES[size])
    num_heads, num_kv_heads = fields.pop("heads")
    return Qwen3Config(
        **fields,
        num_attention_heads=num_heads,
        num_key_value_heads=num_kv_heads,
        head_dim=64 if size == "10m" else 128,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )


def gsm8k_lengths(path: Path, num_tokens: int) -> list[int]:
    """Lengths of random rows of the file that sum to about `num_tokens`."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    lengths: list[int] = []
    for row in (rows[index] for index in order):
        lengths.append(int(1.3 * (len(row["question"].split()) + len(row["answer"].split()))))
        if sum(lengths) >= num_tokens:
            return lengths
    raise SystemExit(f"expected {num_tokens} tokens in {path}, got {sum(lengths)}")


def archon_leg(hf_model: PreTrainedModel, sequences: list[Tensor], device: torch.device) -> Callable[[], None]:
    config = hf_model.config
    spec = get_model_spec(config.model_type)
    args = spec.model_args_class.from_hf_config(config)
    model = ScoringDecoder(args).to(hf_model.dtype)
    model.load_state_dict(spec.state_dict_adapter_class(args).from_hf(dict(hf_model.state_dict())))
    model.to(device)
    lengths = [len(ids) for ids in sequences]
    ids = torch.cat(sequences).to(device)
    labels, has_label = ids.roll(-1), torch.ones_like(ids, dtype=torch.bool)
    has_label[torch.tensor(lengths, device=device).cumsum(0) - 1] = False

    def run() -> None:
        layout = PackedLayout.from_lengths(lengths, device)
        positions = layout.position_ids()[None]
        scores = model(
            ids[None],
            positions,
            layout.cu_seqlens,
            layout.max_seqlen,
            tree_attn_meta=layout,
            labels=labels[None],
            with_entropy=False,
        )
        (-scores[0, :, 0] * has_label).sum().div(has_label.sum()).backward()
        model.zero_grad()

    return run


def hf_packed_leg(model: PreTrainedModel, sequences: list[Tensor], device: torch.device) -> Callable[[], None]:
    ids = torch.cat(sequences)[None].to(device)
    positions = torch.cat([torch.arange(len(s)) for s in sequences])[None].to(device)
    labels = ids.masked_fill(positions == 0, -100)  # HF shifts them: no sequence predicts the first token of the next
    return lambda: _hf_step(model, input_ids=ids, position_ids=positions, labels=labels)


def hf_padded_leg(model: PreTrainedModel, sequences: list[Tensor], device: torch.device) -> Callable[[], None]:
    ids = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True).to(device)
    lengths = torch.tensor([len(s) for s in sequences], device=device)
    mask = torch.arange(ids.shape[1], device=device) < lengths[:, None]
    labels = ids.masked_fill(~mask, -100)
    return lambda: _hf_step(model, input_ids=ids, attention_mask=mask.long(), labels=labels)


def _hf_step(model: PreTrainedModel, **batch: Tensor) -> None:
    model(**batch, use_cache=False).loss.backward()
    model.zero_grad()


def seconds_of(legs: dict[str, Callable[[], None]], rounds: int, device: torch.device) -> dict[str, float]:
    """Least seconds of each leg; the first round warms up."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    best = dict.fromkeys(legs, math.inf)
    for number in range(rounds + 1):
        for name, leg in legs.items():
            _synchronize(device)
            started = clock()
            leg()
            _synchronize(device)
            if number > 0:
                best[name] = min(best[name], clock() - started)
    return best


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def flops_per_token(model: PreTrainedModel, lengths: list[int]) -> float:
    """Of forward and backward: 6 a parameter, plus causal attention's 6 · width · length of each layer in the mean."""
    config = model.config
    width = config.num_attention_heads * config.head_dim
    mean_length = sum(n * n for n in lengths) / sum(lengths)
    return 6 * model.num_parameters() + 6 * config.num_hidden_layers * width * mean_length


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="GSM8K as jsonl with question and answer")
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", choices=SIZES, default="10m")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="of the GPU in bf16, for the MFU")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    torch.manual_seed(0)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    config = model_config(arguments.size)
    lengths = gsm8k_lengths(arguments.data, arguments.tokens)
    sequences = [torch.randint(0, config.vocab_size, (length,)) for length in lengths]
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=dtype).to(device)
    legs = {
        "archon": archon_leg(model, sequences, device),
        "HF packed": hf_packed_leg(model, sequences, device),
        "HF padded": hf_padded_leg(model, sequences, device),
    }
    seconds = seconds_of(legs, arguments.rounds, device)
    num_tokens = sum(lengths)
    print(f"{model.num_parameters() / 1e6:.1f} M parameters, {len(lengths)} sequences, {num_tokens} tokens, {dtype}")
    for name, duration in seconds.items():
        ratio = duration / seconds["archon"]
        print(f"{name:10s} {num_tokens / duration:9.0f} tokens/s, archon {ratio:.2f}x")
    if device.type == "cuda":
        mfu = flops_per_token(model, lengths) * num_tokens / seconds["archon"] / (arguments.peak_tflops * 1e12)
        print(f"archon MFU {100 * mfu:.1f} %")
    return 0 if all(seconds[name] / seconds["archon"] >= target for name, target in TARGETS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
