# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A `TrainEngine` in plain autograd, for tests of the algorithm classes: a bigram model, SGD, any micro-batch cut."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.distributed as dist

from areal.utils.data import concat_padded_tensors, pack_tensor_dict

VOCAB = 11


class FakeEngine:
    """Logits of token t + 1 are a table row of token t; packed `[T]` or padded `[B, S]` when `is_packed` is False."""

    def __init__(self, num_micro_batches: int = 1, lr: float = 0.5, is_packed: bool = True, version: int = 0) -> None:
        generator = torch.Generator().manual_seed(0)
        self.table = torch.randn(VOCAB, VOCAB, generator=generator).requires_grad_()
        self.num_micro_batches, self.lr, self.is_packed, self.version = num_micro_batches, lr, is_packed, version
        self.batches: list[dict] = []
        self.modes: list[str] = []

    @property
    def data_parallel_group(self):
        return dist.group.WORLD if dist.is_initialized() else None

    def get_version(self) -> int:
        return self.version

    def train(self, mode: bool = True) -> None:
        self.modes.append("train")

    def eval(self) -> None:
        self.modes.append("eval")

    def _outputs(self, input_ids):
        logp = self.table[input_ids.long()].log_softmax(-1)
        labels = input_ids.long().roll(-1, -1)  # the engine's labels cross sequence ends: losses must mask them
        return logp.gather(-1, labels[..., None])[..., 0], -(logp.exp() * logp).sum(-1)

    def forward_batch(self, input_):
        with torch.no_grad():
            return [self._outputs(item["input_ids"])[0] for item in input_]

    def _micro_batches(self, input_):
        batch = concat_padded_tensors(input_) if isinstance(input_, list) else input_
        self.batches.append(batch)
        parts = torch.arange(len(batch["attention_mask"])).chunk(self.num_micro_batches)
        cut = [{k: v[part] for k, v in batch.items()} for part in parts]
        return [pack_tensor_dict(mb) for mb in cut] if self.is_packed else cut

    def _run(self, input_, loss_fn, loss_weight_fn, grad):
        mbs = self._micro_batches(input_)
        total = self._sum(sum(loss_weight_fn(mb) for mb in mbs).double())
        loss = torch.zeros((), dtype=torch.double)
        for mb in mbs:
            weight = loss_weight_fn(mb)
            with nullcontext() if grad else torch.no_grad():
                part = loss_fn(*self._outputs(mb["input_ids"]), mb) * (weight / total).float()
                if grad:
                    part.backward()
            loss += part.detach()
        return self._sum(loss), float(total), len(mbs)

    def _sum(self, x):
        if dist.is_initialized():
            dist.all_reduce(x)
        return x

    def train_batch(self, input_, loss_fn, loss_weight_fn) -> dict[str, float]:
        self.table.grad = torch.zeros_like(self.table)
        loss, weight, count = self._run(input_, loss_fn, loss_weight_fn, grad=True)
        grad = self._sum(self.table.grad)
        with torch.no_grad():
            self.table -= self.lr * grad
        return {
            "update_successful": 1.0,
            "grad_norm": float(grad.norm()),
            "lr": self.lr,
            "loss": float(loss),
            "loss_weight": weight,
            "num_micro_batches": float(count),
        }

    def eval_batch(self, input_, loss_fn, loss_weight_fn):
        return self._run(input_, loss_fn, loss_weight_fn, grad=False)[0]
