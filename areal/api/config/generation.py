# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Sampling parameters of one generation request, shared by workflows, clients and servers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from areal.api.config.fields import check_fields, setting
from areal.utils.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOP_K_OFF = 100_000_000
"""`top_k` at or above this keeps the whole vocabulary; the number is AReaL's, so that its files load unchanged."""


@dataclass
class GenerationHyperparameters:
    """How samples are drawn; `PPOConfig.gconfig` is used for training, `eval_gconfig` for evaluation."""

    n_samples: int = setting(1, "Samples generated for each prompt (the size of a group).", ge=1)
    max_new_tokens: int = setting(16384, "Longest answer.", unit="tokens", ge=1)
    min_new_tokens: int = setting(0, "Shortest answer: stop tokens are suppressed until then.", unit="tokens", ge=0)
    max_tokens: int = setting(32768, "Longest prompt plus answer.", unit="tokens", ge=1)
    greedy: bool = setting(False, "Take the most likely token instead of sampling.")
    top_p: float = setting(1.0, "Keep the smallest set of tokens holding this much probability.", gt=0, le=1)
    top_k: int = setting(TOP_K_OFF, "Keep this many most likely tokens; the default keeps all.", unit="tokens", ge=1)
    temperature: float = setting(1.0, "Divisor of the logits before the softmax.", gt=0)
    stop_token_ids: list[int] = setting(factory=list, help="Token ids that end an answer, next to the tokenizer's own.")
    ignore_eos: bool = setting(False, "Generate to the length limit, past any stop token.")
    seed: int | None = setting(None, "Seed of the sampler for every request; None lets the server choose.", ge=0)
    drop_incomplete_group: bool = setting(False, "Discard a whole group when one of its samples failed.")

    def __post_init__(self) -> None:
        check_fields(self)
        if self.min_new_tokens > self.max_new_tokens:
            raise ConfigError(
                f"GenerationHyperparameters.min_new_tokens: expected at most max_new_tokens={self.max_new_tokens}, "
                f"got {self.min_new_tokens}; lower it or raise max_new_tokens"
            )

    def new(self, **changes: Any) -> GenerationHyperparameters:
        """A copy with `changes` applied and checked; lists are not shared with the original."""
        return dataclasses.replace(self, **{"stop_token_ids": list(self.stop_token_ids), **changes})

    def new_with_stop_and_pad_token_ids(self, tokenizer: PreTrainedTokenizerBase) -> GenerationHyperparameters:
        """A copy whose `stop_token_ids` also hold the tokenizer's pad and eos ids, pad first, without repeats."""
        extra = [token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id) if token is not None]
        return self.new(stop_token_ids=list(dict.fromkeys([*self.stop_token_ids, *extra])))
