# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Forward, loss and backward in bf16 of every kind of layer on a fake GPU, in a process of its own.

    python -m tests.experimental.models.archon.fake_cuda_gradients HOOKS.so

Prints one JSON object: for each case what made the host wait, and the operators that the kernels of interest ran as; or the
error. `test_fake_cuda` starts it and judges.
"""

from __future__ import annotations

import ctypes
import json
import sys

if __name__ == "__main__":
    ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)  # before torch, which asks once

import dataclasses
import traceback
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from areal.experimental.models.archon.kernels import delta_rule
from areal.experimental.models.archon.model_args import DecoderArgs, RouterArgs, ScoreArgs
from areal.experimental.models.archon.moe import grouped_linear
from areal.experimental.models.archon.moe.balance import set_router_losses, update_expert_biases
from areal.experimental.models.archon.moe.losses import RouterLosses
from areal.experimental.models.archon.parallel.activation import (
    ActivationCheckpointConfig,
    apply_activation_checkpointing,
)
from areal.experimental.models.archon.parallel.scoring import ScoringDecoder
from areal.models.packed_attention import dense, layout
from areal.models.packed_attention.layout import PackedLayout
from tests.experimental.models.archon.parallel.cases import (
    ALIBI,
    ATTENTION,
    CRITIC,
    DENSE,
    EXPERTS,
    LAYER,
    MIXERS,
    MOE,
    MOE_BIASED,
    POSITIONS,
    RICH,
    SHORT_CONV,
    TIED,
)
from tests.fake_cuda import fake_cuda

DEVICE = torch.device("cuda", 0)
LENGTHS = (24, 1, 13, 900)
SHOWN = ("_varlen_attn", "_varlen_attn_backward", "_grouped_mm", "linalg_solve_triangular", "bmm")


def _with_score(**options: Any) -> DecoderArgs:
    score = ScoreArgs(scale=0.3, **options)
    return replace(DENSE, layers=(replace(LAYER, mixer=replace(ATTENTION, score=score)),) * 2)


def _with_router(router: RouterArgs) -> DecoderArgs:
    return replace(DENSE, layers=(replace(LAYER, ffn=replace(EXPERTS, router=router)),) * 2)


CASES: dict[str, tuple[DecoderArgs, str]] = {
    "dense": (DENSE, "none"),
    "dense, all recomputed": (DENSE, "full"),
    "dense, cheap recomputed": (DENSE, "selective"),
    "windows": (_with_score(window=5), "none"),
    "chunks": (_with_score(chunk=8), "none"),
    "sinks": (_with_score(sinks=True), "none"),
    "soft caps": (_with_score(softcap=3.0), "none"),
    "biases, gates, norms": (RICH, "none"),
    "latent attention and delta net": (MIXERS, "none"),
    "short convolutions": (SHORT_CONV, "none"),
    "learned positions": (POSITIONS, "none"),
    "linear biases": (ALIBI, "none"),
    "tied": (TIED, "none"),
    "critic": (CRITIC, "none"),
    "experts": (MOE, "none"),
    "experts, cheap recomputed": (MOE, "selective"),
    "experts with biases": (MOE_BIASED, "none"),
    "experts by biased sigmoids": (_with_router(RouterArgs(score="sigmoid", selection_bias=True)), "none"),
}


def run(args: DecoderArgs, mode: str) -> dict[str, Any]:
    """One step of a case: waits by line, and how often the operators of interest ran."""
    dense._additive_mask.cache_clear()
    with torch.device("meta"):
        model = ScoringDecoder(args).to(torch.bfloat16)
    if mode != "none":
        apply_activation_checkpointing(model, ActivationCheckpointConfig(mode=mode), compiles=False)  # type: ignore[arg-type]
    with fake_cuda() as watch:
        _give_memory(model)
        set_router_losses(model, RouterLosses(load_balance=0.1, z_loss=0.1, num_tokens=torch.tensor(9, device=DEVICE)))
        packed = PackedLayout.from_lengths(list(LENGTHS), DEVICE)
        tokens = torch.zeros(1, sum(LENGTHS), dtype=torch.long, device=DEVICE)
        positions = packed.position_ids()[None]
        watch.ops.clear()
        watch.waits.clear()
        scores = model(tokens, positions, packed.cu_seqlens, packed.max_seqlen, packed, labels=tokens)
        scores.sum().backward()
        update_expert_biases(model, 1e-3)
        for name, param in model.named_parameters():
            assert param.grad is not None, f"no gradient of {name}"
            assert param.grad.dtype == param.dtype and param.grad.device == DEVICE, f"{name}: {param.grad}"
        assert args.is_critic or scores.dtype == torch.float32
    counts = {name: sum(n for op, n in watch.ops.items() if op.split(".")[1] == name) for name in SHOWN}
    return {"waits": dict(watch.waits), "ops": {name: n for name, n in counts.items() if n}}


def _give_memory(model: nn.Module) -> None:
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, old in tensors.items():
                if old is not None:
                    new: Tensor = torch.empty(old.shape, dtype=old.dtype, device=DEVICE)
                    tensors[name] = nn.Parameter(new) if isinstance(old, nn.Parameter) else new


def _tables_with_data() -> None:
    """Tables that the host makes from lengths are made of real numbers, and only then have none."""
    make_plan, make_chunks = layout._make_plan, delta_rule.chunk_plan.__wrapped__

    def plan(packed: PackedLayout, *heads: int) -> Any:
        with unset_fake_temporarily():
            real = make_plan(PackedLayout.from_lengths(list(packed.seq_lens), "cpu", packed.shared), *heads)
        return _on_device(real)

    def chunks(lengths: tuple[int, ...], device: torch.device) -> Any:
        with unset_fake_temporarily():
            real = make_chunks(lengths, torch.device("cpu"))
        return _on_device(real)

    layout._make_plan, delta_rule.chunk_plan = plan, chunks  # type: ignore[assignment]


def _on_device(tables: Any) -> Any:
    tensors = {f.name: tables.__dict__[f.name] for f in dataclasses.fields(tables)}
    return replace(
        tables,
        **{
            name: torch.empty(x.shape, dtype=x.dtype, device=DEVICE)
            for name, x in tensors.items()
            if isinstance(x, Tensor)
        },
    )


def _grouped_mm(x_RI: Tensor, weight_XOI: Tensor, ends_X: Tensor) -> Tensor:
    """What runs on a GPU; tensors without data take an operator of ours, which checks nothing."""
    y_RO = F.grouped_mm(x_RI, weight_XOI.transpose(-2, -1), offs=ends_X)
    y_RO.register_hook(Tensor.contiguous)
    return y_RO


def main() -> None:
    _tables_with_data()
    grouped_linear._grouped_mm = _grouped_mm
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        try:
            found[name] = run(*case)
        except (AssertionError, RuntimeError, TypeError, ValueError):
            found[name] = {"error": traceback.format_exc(limit=-4)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
