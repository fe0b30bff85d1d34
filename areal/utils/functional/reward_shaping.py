# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""From the task's reward to the reward that is trained on; nothing here changes its input.

Called by `areal.trainer.ppo.advantages`, in the order overlong penalty, then bias, scale and clip.
"""

from __future__ import annotations

from torch import Tensor


def overlong_penalty(
    response_lens_B: Tensor, max_new_tokens: int, overlong_tokens: int, overlong_penalty_factor: float
) -> Tensor:
    """Soft overlong punishment (DAPO, Yu et al. 2025, eq. 13), scaled by a factor; `[B]` float32, never positive.

    0 up to `max_new_tokens - overlong_tokens` tokens, then linear down to `-overlong_penalty_factor` at
    `max_new_tokens`, and no lower beyond (multi-turn answers can be longer than one generation).

    Args:
        response_lens_B: `[B]` number of trained tokens.

    Raises:
        ValueError: `overlong_tokens` is not in [1, max_new_tokens].
    """
    if not 1 <= overlong_tokens <= max_new_tokens:
        raise ValueError(
            f"expected 1 <= overlong_tokens <= max_new_tokens, got overlong_tokens={overlong_tokens} and "
            f"max_new_tokens={max_new_tokens}: overlong_tokens is the length of the penalised tail"
        )
    excess = response_lens_B.float() - (max_new_tokens - overlong_tokens)
    return -overlong_penalty_factor * (excess / overlong_tokens).clamp(0, 1)


def shape_rewards(rewards_B: Tensor, bias: float = 0.0, scaling: float = 1.0, clip: float = 20.0) -> Tensor:
    """`clip((r + bias) * scaling, -clip, clip)`; `[B]` float32. The clip bounds the *scaled* reward."""
    return ((rewards_B.float() + bias) * scaling).clamp(-clip, clip)
