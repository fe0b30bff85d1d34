# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Generalised advantage estimation (Schulman et al. 2016, eq. 16) over the trained tokens of padded or packed sequences.

Called by `areal.trainer.ppo.advantages`. The backward recursion runs as a scan of log2(length) tensor operations
(Hillis & Steele 1986) instead of one Python step per token. Tokens outside the mask are transparent: they take no time
step and no reward; they only carry the advantage of the next trained token.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reverse_linear_scan(decay: Tensor, inputs: Tensor, max_run: int) -> Tensor:
    """Solve `y_t = inputs_t + decay_t * y_{t+1}` along the last dim, with y = 0 beyond its end.

    Doubling: after k rounds `y_t` covers the window [t, t + 2^k) and `a_t` is the product of `decay` over it, so joining
    with the window that starts at t + 2^k doubles both.

    Args:
        decay, inputs: float, equal shapes.
        max_run: no run of non-zero `decay` is longer than this, so windows need not grow beyond it.
    """
    y, a = inputs.clone(), decay.clone()
    step = 1
    while step < min(max_run, y.shape[-1]):
        y[..., :-step] += a[..., :-step] * y[..., step:]
        a[..., :-step] = a[..., :-step] * a[..., step:]
        step *= 2
    return y


@torch.no_grad()
def gae_packed(
    rewards_T: Tensor,
    mask_T: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    discount: float = 1.0,
    gae_lambda: float | Tensor = 1.0,
    values_T: Tensor | None = None,
    bootstrap_N: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Advantages and returns of N packed sequences, prediction aligned.

    Over the trained positions of a sequence, in order j = 0, 1, ...:
    `delta_j = r_j + gamma * V_{j+1} - V_j`, `A_j = delta_j + gamma * lambda * A_{j+1}`, `return_j = A_j + V_j`.

    Args:
        rewards_T: `[T]` rewards; those outside the mask are ignored.
        mask_T: `[T]` bool, trained positions.
        cu_seqlens: `[N + 1]` boundaries; max_seqlen: longest sequence.
        gae_lambda: one lambda, or one per sequence `[N]`.
        values_T: `[T]` values, None without a critic (all 0).
        bootstrap_N: `[N]` value after the last trained token; non-zero only for truncated sequences. None is all 0.

    Returns:
        (advantages `[T]`, returns `[T]`), float32.
    """
    rewards_T, mask_T = rewards_T.float(), mask_T.bool()
    decay_T = torch.where(mask_T, discount * _per_token(gae_lambda, cu_seqlens, rewards_T), 1.0)
    has_tokens = cu_seqlens.diff() > 0
    decay_T[cu_seqlens[1:][has_tokens].long() - 1] = 0.0  # a sequence never sees the next one
    if values_T is None and bootstrap_N is None:
        delta_T, values_T = rewards_T, torch.zeros_like(rewards_T)
    else:
        values_T = torch.zeros_like(rewards_T) if values_T is None else values_T.float()
        delta_T = rewards_T + discount * _next_values(values_T, mask_T, cu_seqlens, bootstrap_N) - values_T
    advantages_T = reverse_linear_scan(decay_T, torch.where(mask_T, delta_T, 0), max_seqlen)
    return advantages_T, advantages_T + values_T


def gae_padded(
    rewards_BS: Tensor,
    mask_BS: Tensor,
    discount: float = 1.0,
    gae_lambda: float | Tensor = 1.0,
    values_BS: Tensor | None = None,
    bootstrap_B: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`gae_packed` for padded rows: advantages and returns `[B, S]`, float32."""
    num_rows, width = rewards_BS.shape
    cu_seqlens = torch.arange(num_rows + 1, device=rewards_BS.device) * width
    values_T = None if values_BS is None else values_BS.reshape(-1)
    advantages_T, returns_T = gae_packed(
        rewards_BS.reshape(-1), mask_BS.reshape(-1), cu_seqlens, width, discount, gae_lambda, values_T, bootstrap_B
    )
    return advantages_T.view(num_rows, width), returns_T.view(num_rows, width)


def _per_token(per_seq: float | Tensor, cu_seqlens: Tensor, like_T: Tensor) -> float | Tensor:
    if not isinstance(per_seq, Tensor):
        return per_seq
    return torch.repeat_interleave(per_seq.float(), cu_seqlens.diff(), output_size=like_T.numel())


def _next_values(values_T: Tensor, mask_T: Tensor, cu_seqlens: Tensor, bootstrap_N: Tensor | None) -> Tensor:
    """Value at the next trained position of the same sequence, the bootstrap value where there is none."""
    num_tokens = values_T.numel()
    positions = torch.arange(num_tokens, device=values_T.device)
    trained = torch.where(mask_T, positions, num_tokens)
    at_or_after = trained.flip(0).cummin(0).values.flip(0)
    following = torch.cat([at_or_after[1:], at_or_after.new_full((1,), num_tokens)])
    ends = torch.repeat_interleave(cu_seqlens[1:].long(), cu_seqlens.diff(), output_size=num_tokens)
    bootstrap_N = values_T.new_zeros(cu_seqlens.numel() - 1) if bootstrap_N is None else bootstrap_N
    bootstrap_T = _per_token(bootstrap_N, cu_seqlens, values_T)
    return torch.where(following < ends, values_T[following.clamp(max=num_tokens - 1)], bootstrap_T)
