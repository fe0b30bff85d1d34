# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The tokens of an episode with several generations, and its trajectory. Used by workflows of more than one turn.

    prompt | answer 0 (trained on) | message (from the environment) | answer 1 (trained on) | ...

The ids of the engine are kept as they are; only messages are encoded, and nothing is encoded twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from areal.api.io_struct import ModelResponse
from areal.utils.hf_utils import apply_chat_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from areal.api.engine_api import Trajectory

_PLACEHOLDER = "areal-assistant-turn"


class Transcript:
    """Grows by responses of the engine and by messages in between; `ids` is the prompt of the next generation."""

    def __init__(self, prompt_ids: list[int]) -> None:
        self.ids: list[int] = list(prompt_ids)
        self.num_turns = 0
        self._turns = [-1] * len(prompt_ids)
        self._logprobs = [0.0] * len(prompt_ids)
        self._versions = [-1] * len(prompt_ids)
        self._last: ModelResponse | None = None

    def add_response(self, response: ModelResponse) -> None:
        """Append what the engine generated for `ids`."""
        if response.input_tokens != self.ids:
            raise ValueError("expected the response to a request whose input_ids are those of the transcript")
        self.ids += response.output_tokens
        self._turns += [self.num_turns] * response.output_len
        self._logprobs += response.output_logprobs
        self._versions += response.output_versions
        self.num_turns += 1
        self._last = response

    def add_message(self, ids: list[int]) -> None:
        """Append tokens that the model did not generate; they are not trained on."""
        self.ids += ids
        self._turns += [-1] * len(ids)
        self._logprobs += [0.0] * len(ids)
        self._versions += [-1] * len(ids)

    def trajectory(self, reward: float) -> Trajectory:
        """Tensors of the episode up to its last response: per token `[1, L]`, per sequence `[1]`."""
        if self._last is None:
            raise ValueError("expected at least one response")
        length = self._last.input_len + self._last.output_len
        turns = np.array([self._turns[:length]], dtype=np.int32)
        columns = {
            "input_ids": np.array([self.ids[:length]], dtype=np.int32),
            "attention_mask": np.ones((1, length), dtype=np.bool_),
            "loss_mask": (turns >= 0).astype(np.int32),
            "logprobs": np.array([self._logprobs[:length]], dtype=np.float32),
            "versions": np.array([self._versions[:length]], dtype=np.int32),
            "turn_ids": turns,
            "rewards": np.array([reward], dtype=np.float32),
            "truncated": np.array([self._last.truncated]),
            "token_crc": np.array([self._last.token_crc], dtype=np.int64),
        }
        return {key: torch.from_numpy(column) for key, column in columns.items()}


def message_ids(tokenizer: PreTrainedTokenizerBase, content: str, role: str = "user") -> list[int]:
    """Ids that follow an answer ended by eos: the rest of the template, a message, and the start of the next answer."""
    if tokenizer.chat_template is None:
        return tokenizer(f"\n{content}\n", add_special_tokens=False)["input_ids"]
    turns = [("user", ""), ("assistant", _PLACEHOLDER), (role, content)]
    messages = [{"role": name, "content": text} for name, text in turns]
    text = apply_chat_template(tokenizer, messages, tokenize=False, add_generation_prompt=True)
    _, found, rest = text.partition(_PLACEHOLDER)
    if not found:
        raise ValueError("expected a chat template that shows what the assistant said")
    rest = rest.lstrip(" ").removeprefix(str(tokenizer.eos_token))
    return tokenizer(rest, add_special_tokens=False)["input_ids"]
