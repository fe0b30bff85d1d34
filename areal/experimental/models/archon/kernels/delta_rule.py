# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Gated delta rule (Yang et al. 2024, arXiv 2412.06464, eq. 10): S_t = e^{g_t} S_(t-1) + k_t β_t (v_t - e^{g_t} S_(t-1)ᵀ k_t)ᵀ.

The output is o_t = D^-½ · S_tᵀ q_t; q and k are expected normalised. Computed in chunks with matrix products, in fp32.
Called by contexts: training starts at zero, a server with the state it kept. Plain differentiable torch.
Dimensions: N tokens of n sequences, H heads, D key width, W value width, Z chunks, L = `CHUNK` tokens of a chunk.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

CHUNK = 64
"""Tokens of a chunk: products inside cost L² a chunk, the loop over chunks costs N / L steps; 64 as in all published kernels."""


@dataclass(frozen=True)
class ChunkPlan:
    """Chunks of packed sequences in the order of the loop: the first chunks of all sequences, then the second ones, …

    Sequences are ordered by falling length, so that those still running at a step are the first ones.
    token_of: `[Z L]` int64 row of a token plus one; 0 for padding. slot_of: `[N]` int64 place of a token in the chunks.
    running: sequences still running at each step. order: sequence at each place of the states.
    """

    token_of: Tensor
    slot_of: Tensor
    running: tuple[int, ...]
    order: Tensor


def delta_rule(
    q_NHD: Tensor,
    k_NHD: Tensor,
    v_NHW: Tensor,
    log_decay_NH: Tensor,
    beta_NH: Tensor,
    lengths: tuple[int, ...],
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Outputs `[N, H, W]` in v's dtype and the final states `[n, H, D, W]` in fp32.

    Args:
        lengths: tokens of each of the n packed sequences, summing to N.
        initial_state: `[n, H, D, W]` before each sequence; None means zero.
    """
    plan = chunk_plan(lengths, q_NHD.device)
    q, k, v, g, beta = (_to_chunks(x, plan) for x in (q_NHD, k_NHD, v_NHW, log_decay_NH, beta_NH))
    q = q * q.shape[-1] ** -0.5
    total_ZHL = g.cumsum(-1)
    later_LL = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=g.device).triu(1)
    decay_ZHLL = (total_ZHL.unsqueeze(-1) - total_ZHL.unsqueeze(-2)).masked_fill(later_LL, -math.inf).exp()
    # Within a chunk the corrections of earlier tokens act on later ones: (I + A) x = rhs, A strictly lower. The solver
    # reads nothing else of `system`.
    k_beta = k * beta.unsqueeze(-1)
    products = (torch.cat((q, k_beta), dim=-2) @ k.transpose(-1, -2)).unflatten(-2, (2, -1))
    scores, system = (products * decay_ZHLL.unsqueeze(-3)).unbind(-3)
    rhs = torch.cat((v * beta.unsqueeze(-1), k_beta * total_ZHL.exp().unsqueeze(-1)), dim=-1)
    u, w = torch.linalg.solve_triangular(system, rhs, upper=False, unitriangular=True).split(
        (v.shape[-1], k.shape[-1]), dim=-1
    )
    q_decayed = q * total_ZHL.exp().unsqueeze(-1)
    last_ZH = total_ZHL[..., -1]
    k_decayed = k * (last_ZH.unsqueeze(-1) - total_ZHL).exp().unsqueeze(-1)

    if initial_state is None:
        state = q.new_zeros(len(lengths), *k.shape[1:2], k.shape[-1], v.shape[-1])
    else:
        state = initial_state.float()[plan.order]
    outputs, finished = [], []
    steps = zip(*(x.split(plan.running) for x in (u, w, scores, q_decayed, k_decayed, last_ZH.exp())), strict=True)
    for running, (u_i, w_i, scores_i, q_i, k_i, keep_i) in zip(plan.running, steps, strict=True):
        if running < state.shape[0]:
            finished.append(state[running:])
            state = state[:running]
        v_new = u_i - w_i @ state
        outputs.append(q_i @ state + scores_i @ v_new)
        state = state * keep_i[..., None, None] + k_i.transpose(-1, -2) @ v_new
    finished.append(state)
    out_ZHLW = torch.cat(outputs)
    out_NHW = out_ZHLW.transpose(1, 2).flatten(0, 1).index_select(0, plan.slot_of)
    states = torch.cat(finished[::-1])[plan.order.argsort()]
    return out_NHW.to(v_NHW.dtype), states


def delta_rule_step(
    q_RHD: Tensor, k_RHD: Tensor, v_RHW: Tensor, log_decay_RH: Tensor, beta_RH: Tensor, state_RHDW: Tensor
) -> tuple[Tensor, Tensor]:
    """One token a row: outputs `[R, H, W]` in v's dtype and the new fp32 states, of states `[R, H, D, W]`."""
    q, k, v = q_RHD.float() * q_RHD.shape[-1] ** -0.5, k_RHD.float(), v_RHW.float()
    state = state_RHDW.float() * log_decay_RH.float().exp()[..., None, None]
    correction = (v - (k.unsqueeze(-2) @ state).squeeze(-2)) * beta_RH.float().unsqueeze(-1)
    state = torch.addcmul(state, k.unsqueeze(-1), correction.unsqueeze(-2))
    return (q.unsqueeze(-2) @ state).squeeze(-2).to(v_RHW.dtype), state


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a server in this process may ask first, and training must be able to save the tensors
def chunk_plan(lengths: tuple[int, ...], device: torch.device) -> ChunkPlan:
    """The chunks of sequences of these lengths; cached, since all layers of a pass share one."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    starts = [0, *itertools.accumulate(lengths)]
    num_chunks = [-(-length // CHUNK) for length in lengths]
    rows: list[Tensor] = []
    running: list[int] = []
    for step in range(num_chunks[order[0]]):
        active = [i for i in order if num_chunks[i] > step]
        running.append(len(active))
        for i in active:
            first = starts[i] + step * CHUNK
            tokens = torch.arange(first, first + CHUNK) + 1
            rows.append(tokens.where(tokens <= starts[i] + lengths[i], 0))
    token_of = torch.cat(rows)
    is_real = token_of > 0
    slot_of = torch.empty(starts[-1], dtype=torch.long)
    slot_of[token_of[is_real] - 1] = is_real.nonzero().squeeze(1)
    return ChunkPlan(token_of.to(device), slot_of.to(device), tuple(running), torch.tensor(order, device=device))


def _to_chunks(x: Tensor, plan: ChunkPlan) -> Tensor:
    """`[Z, H, L, ...]` in fp32 of `[N, H, ...]`. Zero padding is neutral: it neither decays nor corrects the state."""
    padded = torch.cat((x.new_zeros(1, *x.shape[1:]), x)).float()
    chunks = padded.index_select(0, plan.token_of)
    return chunks.unflatten(0, (-1, CHUNK)).transpose(1, 2)
