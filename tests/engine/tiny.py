# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A model of a few thousand parameters, batches for it, and the loss that the engine tests train on."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, Qwen2Config

from areal.api.cli_args import MicroBatchSpec, OptimizerConfig, TrainEngineConfig
from areal.api.io_struct import FinetuneSpec
from areal.engine.fsdp_engine import FSDPEngine
from areal.utils.data import to_prediction_alignment

VOCAB = 64
FT_SPEC = FinetuneSpec(total_train_epochs=2, dataset_size=40, train_batch_size=8)  # 10 steps
# Adam divides by the root of the second moment: a large eps keeps rounding noise of tiny gradients from being amplified.
OPTIMIZER = OptimizerConfig(
    lr=1e-2, eps=1e-4, weight_decay=0.01, lr_scheduler_type="cosine", warmup_steps=2, min_lr_ratio=0.1
)


# A step of plain SGD without clipping moves each weight by its gradient: weights after it compare gradients.
SGD = OptimizerConfig(type="sgd", lr=1.0, beta1=0.0, weight_decay=0.0, warmup_steps=0, gradient_clipping=1e9)
SEQ_LENS = [9, 20, 5, 13, 31, 2, 17, 8]


def save_tiny_model(folder: Path, tie_word_embeddings: bool = True, dropout: float = 0.0) -> str:
    """A random Qwen2 as a HF directory; weights large enough that attention and position matter."""
    torch.manual_seed(0)
    config = Qwen2Config(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCAB,
        max_position_embeddings=128,
        tie_word_embeddings=tie_word_embeddings,
        attention_dropout=dropout,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.1,
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return str(folder)


def tiny_config(path: str, **changes: Any) -> TrainEngineConfig:
    """float32 training of the model at `path`; `changes` override fields."""
    config = TrainEngineConfig(path=path, dtype="float32", optimizer=OPTIMIZER, logprobs_chunk_size=16)
    return dataclasses.replace(config, **changes)


def make_engine(config: TrainEngineConfig) -> FSDPEngine:
    """An initialised engine on this rank; the matmul backend is fixed, so that runs can be compared bit for bit."""
    os.environ["AREAL_CPU_MATMUL"] = "mkl"
    engine = FSDPEngine(config)
    engine.create_process_group()
    engine.initialize(None, FT_SPEC)
    engine.train()
    return engine


def make_batch(seq_lens: list[int], seed: int = 0) -> dict[str, Tensor]:
    """Right-padded random sequences; the loss mask (prediction aligned) leaves out a prompt of a third of each."""
    generator = torch.Generator().manual_seed(seed)
    width = max(seq_lens)
    lengths = torch.tensor(seq_lens).unsqueeze(1)
    positions = torch.arange(width).expand(len(seq_lens), width)
    attention_mask = positions < lengths
    ids = torch.randint(3, VOCAB, (len(seq_lens), width), generator=generator, dtype=torch.int32) * attention_mask
    loss_mask = ((positions >= lengths // 3) & attention_mask).int()
    return {
        "input_ids": ids,
        "attention_mask": attention_mask,
        "loss_mask": to_prediction_alignment(loss_mask),
        "row_weight": 1.0 + torch.arange(len(seq_lens)) % 3,
    }


def rows_of(batch: dict[str, Tensor], rows: list[int]) -> dict[str, Tensor]:
    """Some rows of a batch, trimmed to their longest."""
    part = {key: value[rows] for key, value in batch.items()}
    width = int(part["attention_mask"].sum(1).max())
    return {key: value[:, :width] if value.ndim == 2 else value for key, value in part.items()}


def weighted_loss(logprobs: Tensor, entropy: Tensor, mb: dict[str, Any]) -> Tensor:
    """Mean over trained tokens of the negative log-prob, rows weighted, plus a little entropy."""
    mask = mb["loss_mask"].to(logprobs.dtype)
    row_weight = mb["row_weight"].repeat_interleave(mb["cu_seqlens"].diff().long())
    return ((-logprobs * row_weight - 0.1 * entropy) * mask).sum() / mask.sum()


def num_trained_tokens(mb: dict[str, Any]) -> Tensor:
    return mb["loss_mask"].sum()


def reference_loss(path: str, batch: dict[str, Tensor], temperature: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
    """The same objective with a padded HF forward and plain autograd: loss and gradients by HF name."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")
    logits = model(input_ids=batch["input_ids"].long(), attention_mask=batch["attention_mask"].long()).logits
    log_p = torch.log_softmax(logits.float() / temperature, dim=-1)
    labels = to_prediction_alignment(batch["input_ids"]).long()
    logprobs = log_p.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    entropy = -(log_p.exp() * log_p).sum(-1)
    mask = batch["loss_mask"].float()
    loss = ((-logprobs * batch["row_weight"].unsqueeze(1) - 0.1 * entropy) * mask).sum() / mask.sum()
    loss.backward()
    return loss.detach(), {name: param.grad for name, param in model.named_parameters()}


def micro_batches(n_mbs: int = 1, max_tokens: int | None = None) -> MicroBatchSpec:
    return MicroBatchSpec(n_mbs=n_mbs, max_tokens_per_mb=max_tokens)
