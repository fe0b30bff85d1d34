# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Forward and backward of one qwen3_moe block (8 experts, top 2): areal's MoE layer against HF's on this CPU.

    python benchmarks/moe_block.py --dtype float32

HF runs its own loop over experts (`eager`, the reference implementation) and its grouped product (`grouped_mm`, the default
of a model built by `from_config`). All variants run interleaved in one process and thread with the same weights and inputs;
a variant's time is its fastest step, in CPU time. The last column is what the nine matrix products of the experts alone take,
as single products of the mean size: an implementation cannot be faster than that.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn
from transformers import Qwen3MoeConfig
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

from areal.experimental.models.archon.model_args import ExpertArgs, MoEArgs, RouterArgs
from areal.experimental.models.archon.moe.moe import MoE

NUM_EXPERTS, TOP_K = 8, 2
SHAPES = ((256, 128, 64), (256, 128, 512), (256, 128, 2048), (256, 128, 8192), (512, 512, 256), (512, 512, 2048))
"""(hidden width, inner width, tokens)."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Step = Callable[[], None]


def hf_block(hidden: int, inner: int, implementation: str) -> nn.Module:
    config = Qwen3MoeConfig(
        hidden_size=hidden,
        moe_intermediate_size=inner,
        num_experts=NUM_EXPERTS,
        num_experts_per_tok=TOP_K,
        norm_topk_prob=True,
    )
    config._experts_implementation = implementation
    return Qwen3MoeSparseMoeBlock(config)


def our_block(hf: nn.Module, hidden: int, inner: int) -> MoE:
    args = MoEArgs(
        num_experts=NUM_EXPERTS,
        top_k=TOP_K,
        router=RouterArgs(normalize=True),
        experts=ExpertArgs(intermediate_size=inner),
    )
    block = MoE(args, hidden)
    state = hf.state_dict()
    w1, w3 = state["experts.gate_up_proj"].chunk(2, dim=1)
    weights = {"router.gate.weight": state["gate.weight"], "experts.w2": state["experts.down_proj"]}
    block.load_state_dict({**weights, "experts.w1": w1, "experts.w3": w3})
    return block


def training_step(block: nn.Module, x: Tensor, grad: Tensor) -> Step:
    def step() -> None:
        block.zero_grad()
        block(x.clone().requires_grad_()).backward(grad)

    return step


def products(hidden: int, inner: int, num_tokens: int, dtype: torch.dtype) -> Step:
    """The matrix products of all experts, forward and backward, on operands of each expert's own."""
    rows = max(num_tokens * TOP_K // NUM_EXPERTS, 1)
    sizes = {"x": (rows, hidden), "h": (rows, inner), "w": (inner, hidden)}
    experts = [{name: torch.randn(*size, dtype=dtype) for name, size in sizes.items()} for _ in range(NUM_EXPERTS)]
    out = [{name: torch.empty(*size, dtype=dtype) for name, size in sizes.items()} for _ in range(NUM_EXPERTS)]

    def step() -> None:
        for given, result in zip(experts, out, strict=True):
            x, h, w = given["x"], given["h"], given["w"]
            for _ in range(3):
                torch.mm(x, w.T, out=result["h"])
                torch.mm(h, w, out=result["x"])
                torch.mm(h.T, x, out=result["w"])

    return step


def fastest_ms(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """CPU milliseconds of the fastest of `rounds` interleaved runs of each step."""
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.process_time()
            step()
            best[name] = min(best[name], (time.process_time() - start) * 1e3)
    return best


def measure(hidden: int, inner: int, num_tokens: int, dtype: torch.dtype, rounds: int) -> dict[str, float]:
    torch.manual_seed(0)
    eager, grouped = hf_block(hidden, inner, "eager"), hf_block(hidden, inner, "grouped_mm")
    with torch.no_grad():
        for parameter in eager.parameters():
            parameter.normal_(std=0.02)
    grouped.load_state_dict(eager.state_dict())
    ours = our_block(eager, hidden, inner)
    x, grad = torch.randn(1, num_tokens, hidden), torch.randn(1, num_tokens, hidden)
    torch.testing.assert_close(ours(x[0]), eager(x)[0], rtol=1e-4, atol=1e-5)
    for block in (eager, grouped, ours):
        block.to(dtype)
    x, grad = x.to(dtype), grad.to(dtype)
    steps = {
        "HF eager": training_step(eager, x, grad),
        "HF grouped_mm": training_step(grouped, x, grad),
        "areal": training_step(ours, x[0], grad[0]),
        "products alone": products(hidden, inner, num_tokens, dtype),
    }
    return fastest_ms(steps, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="interleaved runs of each variant and shape")
    parser.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16"), help="of weights and activations"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| hidden x inner | tokens | HF eager | HF grouped_mm | areal | products alone | / eager | / grouped_mm |")
    print("|---|---|---|---|---|---|---|---|")
    for hidden, inner, num_tokens in SHAPES:
        ms = measure(hidden, inner, num_tokens, DTYPES[args.dtype], args.rounds)
        cells = " | ".join(f"{value:.2f} ms" for value in ms.values())
        ratios = " | ".join(f"{ms[name] / ms['areal']:.2f}x" for name in ("HF eager", "HF grouped_mm"))
        print(f"| {hidden} x {inner} | {num_tokens} | {cells} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
