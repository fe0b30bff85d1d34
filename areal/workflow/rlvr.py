# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Single-turn episodes with a verifiable reward: prompt, one generation, one reward.

The rollout executor runs `RLVRWorkflow` once per sample (grouping is the executor's). The ids of the engine are the ids of
the trajectory; text is derived from them for the reward function only. It must never block the event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from areal.api.io_struct import ModelRequest, ModelResponse
from areal.api.reward_api import AsyncRewardWrapper, RewardFn
from areal.api.workflow_api import RolloutWorkflow
from areal.reward.registry import get_reward_fn
from areal.utils import perf_tracer, stats_tracker, workflow_context
from areal.utils.dynamic_import import import_from_string
from areal.utils.hf_utils import apply_chat_template, load_hf_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from areal.api.cli_args import GenerationHyperparameters
    from areal.api.engine_api import InferenceEngine, Trajectory

GetInputIdsFn = Callable[[Any, "PreTrainedTokenizerBase", bool], list[int]]
"""`get_input_ids_fn(prompt, tokenizer, enable_thinking)`, where prompt is what `data_extract_prompt_fn(data)` gave."""


def default_get_input_ids_fn(messages: Any, tokenizer: PreTrainedTokenizerBase, enable_thinking: bool) -> list[int]:
    """Token ids of chat messages under the tokenizer's chat template, with the generation prompt."""
    return apply_chat_template(tokenizer, messages, add_generation_prompt=True, enable_thinking=enable_thinking)


def default_data_extract_prompt_fn(data: dict[str, Any]) -> Any:
    """The chat messages of a dataset item."""
    return data["messages"]


class RLVRWorkflow(RolloutWorkflow):
    """Generate once, reward once, return a trajectory of one sample.

    `reward_fn` may be a registered name; it, `get_input_ids_fn` and `data_extract_prompt_fn` may be dotted paths.
    """

    def __init__(
        self,
        reward_fn: RewardFn | str,
        gconfig: GenerationHyperparameters,
        tokenizer: PreTrainedTokenizerBase | str,
        enable_thinking: bool = False,
        get_input_ids_fn: GetInputIdsFn | str = default_get_input_ids_fn,
        data_extract_prompt_fn: Callable[[dict[str, Any]], Any] | str = default_data_extract_prompt_fn,
    ) -> None:
        self.tokenizer = load_hf_tokenizer(tokenizer) if isinstance(tokenizer, str) else tokenizer
        self.gconfig = gconfig.new_with_stop_and_pad_token_ids(self.tokenizer).new(n_samples=1)
        self.enable_thinking = enable_thinking
        self._reward = AsyncRewardWrapper(get_reward_fn(reward_fn))
        self._get_input_ids = _imported(get_input_ids_fn)
        self._extract_prompt = _imported(data_extract_prompt_fn)

    async def arun_episode(self, engine: InferenceEngine, data: dict[str, Any]) -> Trajectory:
        """One sample on `data`: trajectory tensors `[1, L]`."""
        prompt_ids = self._get_input_ids(self._extract_prompt(data), self.tokenizer, self.enable_thinking)
        request = ModelRequest(input_ids=prompt_ids, gconfig=self.gconfig, tokenizer=self.tokenizer)
        async with perf_tracer.atrace_session_phase("generate"):
            response = await engine.agenerate(request)
        async with perf_tracer.atrace_session_phase("reward"):
            reward = await self._reward(
                self.tokenizer.decode(prompt_ids),
                self.tokenizer.decode(response.output_tokens),
                prompt_ids,
                response.output_tokens,
                **data,
            )
        stats_tracker.get(workflow_context.stat_scope()).scalar(reward=reward)
        return build_trajectory(response, reward)


def build_trajectory(response: ModelResponse, reward: float) -> Trajectory:
    """Tensors of one generation: per token `[1, L]`, per sequence `[1]`, with L = prompt + output.

    Filled through numpy: `torch.tensor` on a list is several times slower, and this runs once per sample on the rollout loop.
    """
    num_prompt, length = response.input_len, response.input_len + response.output_len
    loss_mask = np.zeros((1, length), dtype=np.int32)
    loss_mask[0, num_prompt:] = 1
    logprobs = np.zeros((1, length), dtype=np.float32)
    logprobs[0, num_prompt:] = response.output_logprobs
    input_ids = np.array([response.input_tokens + response.output_tokens], dtype=np.int32)
    versions = np.array([[-1] * num_prompt + response.output_versions], dtype=np.int32)
    columns = {
        "input_ids": input_ids,
        "attention_mask": np.ones((1, length), dtype=np.bool_),
        "loss_mask": loss_mask,
        "logprobs": logprobs,
        "versions": versions,
        "turn_ids": loss_mask - 1,  # 0 on the only assistant turn, -1 elsewhere
        "rewards": np.array([reward], dtype=np.float32),
        "truncated": np.array([response.truncated]),
        "token_crc": np.array([response.token_crc], dtype=np.int64),
    }
    return {key: torch.from_numpy(column) for key, column in columns.items()}


def _imported(value: Any) -> Any:
    return import_from_string(value) if isinstance(value, str) else value
