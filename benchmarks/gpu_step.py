# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A whole training step on one GPU: tokens/s, MFU and peak memory of a 1 B qwen3 and a small MoE, Archon against HF.

    python -m benchmarks.gpu_step                 # both models, all legs, bf16, 8,192 packed tokens
    python -m benchmarks.gpu_step --device cpu    # tiny models: proves that the script runs, its numbers say nothing

A step is forward, backward, clipping and AdamW with fp32 masters on one packed batch; random weights and tokens. Legs:
`archon` and `archon compiled` (`ArchonEngine`), `fsdp` (`FSDPEngine`: HF's layers, our attention and head), `HF flash` and
`HF sdpa` (transformers alone: autocast, its loss, boundaries by positions; flash needs the package flash-attn). The engines
compute entropies as well, which HF does not. Legs run one after another, each in memory that the last gave back; a leg's time
is the median of its steps. MFU counts 6 FLOPs an active parameter and token and causal attention, no recomputation.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig, Qwen3Config, Qwen3MoeConfig
from transformers.utils import is_flash_attn_2_available

from areal.api.cli_args import ArchonEngineConfig, OptimizerConfig, TrainEngineConfig
from areal.api.io_struct import FinetuneSpec
from areal.engine.core.engine import CoreTrainEngine
from areal.engine.fsdp_engine import FSDPEngine
from areal.experimental.engine.archon_engine import ArchonEngine
from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.model_spec import get_model_spec

LENGTHS = (2048, 1536, 1024, 1024, 768, 512, 512, 256, 256, 128, 128)
"""Sequences of the batch: 8,192 tokens."""
PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "H800": 989.0, "A100": 312.0, "A800": 312.0, "L40S": 362.0, "4090": 165.0}
"""Dense bf16, of the vendor's data sheets, by a part of the device's name."""
OPTIMIZER = OptimizerConfig(lr=1e-5, warmup_steps=0)
MFU_TARGET = 45.0
Step = Callable[[], None]


def model_configs(is_tiny: bool) -> dict[str, PreTrainedConfig]:
    """1.0 B dense parameters; 1.8 B with 32 experts, of which a token meets 0.4 B. Tiny ones for a CPU."""
    width, layers, vocab, head = (64, 2, 512, 16) if is_tiny else (2048, 14, 151936, 128)
    common: dict[str, Any] = {
        "vocab_size": vocab,
        "hidden_size": width,
        "num_attention_heads": width // head,
        "num_key_value_heads": width // head // 2,
        "head_dim": head,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    }
    dense = Qwen3Config(**common, intermediate_size=3 * width, num_hidden_layers=layers)
    narrow = {**common, "hidden_size": width // 2, "num_attention_heads": width // head // 2}
    narrow["num_key_value_heads"] = width // head // 4
    moe = Qwen3MoeConfig(
        **narrow,
        num_hidden_layers=layers + layers // 2,
        num_experts=8 if is_tiny else 32,
        num_experts_per_tok=2 if is_tiny else 4,
        moe_intermediate_size=3 * width // 8,
        norm_topk_prob=True,
    )
    return {"qwen3": dense, "qwen3_moe": moe}


def flops_per_token(config: PreTrainedConfig, lengths: tuple[int, ...]) -> float:
    """Of forward and backward: 6 a parameter that a token meets, and 6 · width · length of causal attention a layer."""
    args = get_model_spec(config.model_type).model_args_class.from_hf_config(config)
    with torch.device("meta"):
        model = ArchonModel(args)
    share = config.num_experts_per_tok / config.num_experts if config.model_type == "qwen3_moe" else 1.0
    active = sum(p.numel() * (share if ".experts." in name else 1.0) for name, p in model.named_parameters())
    width = config.num_attention_heads * config.head_dim
    mean_length = sum(n * n for n in lengths) / sum(lengths)
    return 6 * active + 6 * config.num_hidden_layers * width * mean_length


def make_batch(lengths: tuple[int, ...], vocab_size: int) -> dict[str, Tensor]:
    """Right-padded; the loss is about all tokens that have a next one."""
    positions = torch.arange(max(lengths)).expand(len(lengths), -1)
    ends = torch.tensor(lengths)[:, None]
    mask = positions < ends
    ids = torch.randint(0, vocab_size, mask.shape) * mask
    return {"input_ids": ids, "attention_mask": mask, "loss_mask": positions < ends - 1}


def mean_loss(logprobs: Tensor, entropy: Tensor, micro_batch: dict[str, Any]) -> Tensor:
    mask = micro_batch["loss_mask"]
    return -(logprobs * mask).sum() / mask.sum()


def engine_leg(engine: CoreTrainEngine, batch: dict[str, Tensor]) -> tuple[Step, Step]:
    """A step of an engine, and its end."""
    engine.create_process_group()
    engine.initialize(None, FinetuneSpec(total_train_epochs=1, dataset_size=1000, train_batch_size=1))
    engine.train()

    def step() -> None:
        engine.train_batch(batch, mean_loss, lambda micro_batch: micro_batch["loss_mask"].sum())

    return step, engine.destroy


def hf_leg(
    config: PreTrainedConfig, attention: str, lengths: tuple[int, ...], batch: dict[str, Tensor], options: Any
) -> tuple[Step, Step]:
    """A step of transformers alone, as its Trainer does with bf16=True."""
    device = torch.device(options.device)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.float32).to(device)
    if options.checkpoint:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), OPTIMIZER.lr, fused=True)
    ids = batch["input_ids"][batch["attention_mask"]][None].to(device)
    positions = torch.cat([torch.arange(length) for length in lengths])[None].to(device)
    labels = ids.masked_fill(positions == 0, -100)  # HF shifts them: no sequence predicts the first token of the next

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = model(input_ids=ids, position_ids=positions, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER.gradient_clipping)
        optimizer.step()
        optimizer.zero_grad()

    return step, lambda: None


def legs_of(
    config: PreTrainedConfig, folder: Path, lengths: tuple[int, ...], batch: dict[str, Tensor], options: Any
) -> dict[str, Callable[[], tuple[Step, Step]]]:
    config.save_pretrained(folder)
    base = TrainEngineConfig(
        path=str(folder),
        init_from_scratch=True,
        dtype="bfloat16",
        optimizer_dtype="float32",
        optimizer=OPTIMIZER,
        gradient_checkpointing=options.checkpoint,
    )
    compiled = dataclasses.replace(base, archon=ArchonEngineConfig(enable_compile=True))
    legs = {
        "archon": lambda: engine_leg(ArchonEngine(base), batch),
        "archon compiled": lambda: engine_leg(ArchonEngine(compiled), batch),
        "fsdp": lambda: engine_leg(FSDPEngine(base), batch),
        "HF flash": lambda: hf_leg(config, "flash_attention_2", lengths, batch, options),
        "HF sdpa": lambda: hf_leg(config, "sdpa", lengths, batch, options),
    }
    if options.device == "cpu" or not is_flash_attn_2_available():
        del legs["HF flash"]
    return legs


def measure(make: Callable[[], tuple[Step, Step]], options: Any) -> tuple[float, float | None]:
    """Median seconds of a step, and the most memory in GiB that the leg held."""
    is_cuda = options.device == "cuda"
    if is_cuda:
        torch.cuda.reset_peak_memory_stats()
    step, end = make()
    seconds = []
    for number in range(options.warmup + options.rounds):
        started = time.perf_counter()
        step()
        if is_cuda:
            torch.cuda.synchronize()
        if number >= options.warmup:
            seconds.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() / 2**30 if is_cuda else None
    end()
    return statistics.median(seconds), peak


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--models", nargs="+", choices=("qwen3", "qwen3_moe"), default=["qwen3", "qwen3_moe"])
    parser.add_argument("--legs", nargs="+", help="some of them, by name")
    parser.add_argument("--warmup", type=int, default=3, help="steps before the first that counts (compilation)")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--checkpoint", action="store_true", help="recompute activations in all legs")
    parser.add_argument("--peak-tflops", type=float, help="of the GPU in bf16, where its name is not known")
    options = parser.parse_args()
    is_cpu = options.device == "cpu"
    name = "CPU" if is_cpu else torch.cuda.get_device_name()
    peak_tflops = options.peak_tflops or next((t for part, t in PEAK_TFLOPS.items() if part in name), None)
    lengths = tuple(length // 64 for length in LENGTHS) if is_cpu else LENGTHS
    reached = True
    for model_type in options.models:
        torch.manual_seed(0)
        config = model_configs(is_cpu)[model_type]
        batch = make_batch(lengths, config.vocab_size)
        flops = flops_per_token(config, lengths)
        print(
            f"\n{model_type} on {name}, torch {torch.__version__}, {sum(lengths)} tokens, {flops / 1e9:.2f} GFLOP a token"
        )
        print("\n| leg | tokens/s | MFU | peak memory |\n| --- | --- | --- | --- |")
        with tempfile.TemporaryDirectory() as folder:
            for leg, make in legs_of(config, Path(folder), lengths, batch, options).items():
                if options.legs and leg not in options.legs:
                    continue
                seconds, peak = measure(make, options)
                torch.compiler.reset()
                gc.collect()
                if not is_cpu:
                    torch.cuda.empty_cache()
                rate = sum(lengths) / seconds
                mfu = None if peak_tflops is None else 100 * rate * flops / (peak_tflops * 1e12)
                shown = ["-" if mfu is None else f"{mfu:.1f} %", "-" if peak is None else f"{peak:.1f} GiB"]
                print(f"| {leg} | {rate:.0f} | {shown[0]} | {shown[1]} |", flush=True)
                if model_type == "qwen3" and leg == "archon compiled" and mfu is not None:
                    reached = mfu >= MFU_TARGET
    print(f"\ntarget of the dense model: {MFU_TARGET:.0f} % MFU")
    return 0 if reached else 1


if __name__ == "__main__":
    raise SystemExit(main())
