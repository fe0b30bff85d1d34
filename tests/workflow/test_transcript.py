# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from areal.api.io_struct import ModelResponse
from areal.utils.data import check_trajectory_format
from areal.utils.hf_utils import apply_chat_template
from areal.workflow.calculator import calculate
from areal.workflow.rlvr import build_trajectory
from areal.workflow.transcript import Transcript, message_ids


def response(prompt: list[int], output: list[int], version: int = 0, stop: str = "stop") -> ModelResponse:
    return ModelResponse(
        input_tokens=prompt,
        output_tokens=output,
        output_logprobs=[-float(token) for token in output],
        output_versions=[version] * len(output),
        stop_reason=stop,  # type: ignore[arg-type]
    )


def test_transcript_of_one_turn_is_what_rlvr_builds() -> None:
    one = response([1, 2], [3, 4], 5)
    transcript = Transcript([1, 2])
    transcript.add_response(one)
    expected, found = build_trajectory(one, 0.5), transcript.trajectory(0.5)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value) and found[key].dtype == value.dtype, key


def test_transcript_of_two_turns_trains_on_answers_alone() -> None:
    transcript = Transcript([1])
    transcript.add_response(response([1], [2, 3], 0))
    transcript.add_message([4])
    last = response([1, 2, 3, 4], [5], 7, "length")
    transcript.add_response(last)
    transcript.add_message([6])  # after the last answer: no part of the trajectory
    trajectory = transcript.trajectory(1.0)
    assert check_trajectory_format(trajectory, 1)
    assert {
        key: trajectory[key][0].tolist() for key in ("input_ids", "loss_mask", "versions", "turn_ids", "logprobs")
    } == {
        "input_ids": [1, 2, 3, 4, 5],
        "loss_mask": [0, 1, 1, 0, 1],
        "versions": [-1, 0, 0, -1, 7],
        "turn_ids": [-1, 0, 0, -1, 1],
        "logprobs": [0.0, -2.0, -3.0, 0.0, -5.0],
    }
    assert trajectory["truncated"].tolist() == [True] and trajectory["token_crc"].tolist() == [last.token_crc]


def test_transcript_refuses_a_response_to_something_else() -> None:
    with pytest.raises(ValueError, match="input_ids are those of the transcript"):
        Transcript([1]).add_response(response([2], [3]))
    with pytest.raises(ValueError, match="at least one response"):
        Transcript([1]).trajectory(0.0)


def test_message_ids_continue_the_template_exactly(tokenizer: PreTrainedTokenizerBase) -> None:
    first = [{"role": "user", "content": "What is 1+1?"}]
    prompt = apply_chat_template(tokenizer, first, add_generation_prompt=True)
    answer = [*tokenizer("#### 3", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    whole = [*first, {"role": "assistant", "content": "#### 3"}, {"role": "user", "content": "Try again."}]
    expected = apply_chat_template(tokenizer, whole, add_generation_prompt=True)
    assert [*prompt, *answer, *message_ids(tokenizer, "Try again.")] == expected


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("12+3", "15"),
        (" (2 - 5) * 4 ", "-12"),
        ("7/2", "3.5"),
        ("1/3", "0.333333"),
        ("-0.1 + 0.3", "0.2"),
        ("1/0", "error: division by zero"),
        ("2**99", "error: expected numbers with + - * / and parentheses"),
        ("__import__('os')", "error: expected numbers with + - * / and parentheses"),
        ("1+", "error: invalid syntax"),
        ("9" * 31, "error: a number is too long"),
        ("1+" * 150 + "1", "error: longer than 200 characters"),
    ],
)
def test_calculate_numbers_or_an_error_to_read(expression: str, value: str) -> None:
    assert calculate(expression) == value
