# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from areal.dataset import get_custom_dataset
from areal.dataset.arithmetic import make_problem, make_problems
from areal.utils.errors import ConfigError

PARTS = [("train", "sft"), ("train", "rl"), ("test", "rl")]


def solve(question: str) -> int:
    """The result by reading the sentences: gains name 'more', a fair or 'gets', everything else is a loss."""
    first, *events, _ = re.findall(r"[^.?]+[.?]", question)
    value = int(re.search(r"\d+", first)[0])
    for event in events:
        amount = int(re.search(r"\d+", event)[0])
        value += amount if re.search(r"more|fair|gets", event) else -amount
    return value


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), cap=st.integers(6, 99), low=st.integers(1, 3), extra=st.integers(0, 3))
def test_make_problem_any_parameters_worked_answer_is_right(seed: int, cap: int, low: int, extra: int) -> None:
    problem = make_problem(random.Random(seed), steps=(low, low + extra), max_operand=9, cap=cap)
    *lines, final = problem.worked_answer.split("\n")
    assert final == problem.terse_answer == f"#### {problem.result}"
    assert low <= len(lines) <= low + extra
    value = int(re.search(r"\d+", problem.question)[0])
    for line in lines:
        a, sign, b, c = re.fullmatch(r"(\d+)([+-])(\d+)=(\d+)", line).groups()
        assert int(a) == value
        value = int(a) + int(b) if sign == "+" else int(a) - int(b)
        assert int(c) == value
        assert 1 <= value <= cap
        assert 2 <= int(b) <= 9
    assert value == problem.result == solve(problem.question)


def test_make_problems_parts_and_seeds_never_share_a_question_with_the_test_split() -> None:
    questions = {
        (*part, seed): {p.question for p in make_problems(*part, size=1500, seed=seed)}
        for part in PARTS
        for seed in (0, 1)
    }
    for a in questions:
        for b in questions:
            if a[:2] != b[:2]:
                assert not questions[a] & questions[b], (a, b)
    assert questions["train", "rl", 0] != questions["train", "rl", 1]
    assert all(len(part) == 1500 for part in questions.values())


def test_make_problems_same_arguments_give_the_same_problems() -> None:
    assert make_problems("train", "rl", 50, seed=3) == make_problems("train", "rl", 50, seed=3)
    assert make_problems("train", "rl", 80, seed=3)[:50] == make_problems("train", "rl", 50, seed=3)


def test_make_problems_more_than_exist_raises() -> None:
    with pytest.raises(ConfigError, match=r"only \d+ different test problems exist"):
        make_problems("test", "rl", 10**6, steps=(1, 1), max_operand=2, cap=6)


@pytest.mark.parametrize("options", [{"cap": 5}, {"size": 0}, {"steps": [3, 2]}, {"max_operand": 1}])
def test_make_problems_unusable_parameters_raise(options: dict) -> None:
    with pytest.raises(ConfigError, match="arithmetic needs size >= 1"):
        make_problems("train", "rl", **({"size": 5} | options))


def test_rl_items_hold_question_answer_and_eos(tokenizer: PreTrainedTokenizerFast) -> None:
    dataset = get_custom_dataset("train", tokenizer=tokenizer, path="arithmetic", type="rl", size=20)
    assert dataset.column_names == ["messages", "answer", "eos_token_id"]
    item = dataset[0]
    assert [message["role"] for message in item["messages"]] == ["user"]
    assert item["answer"].endswith(f"#### {solve(item['messages'][0]['content'])}")
    assert item["eos_token_id"] == tokenizer.convert_tokens_to_ids("<|im_end|>")


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.6, 0.52, 0.68), (1.0, 1, 1)])
def test_sft_items_terse_share_is_met(
    tokenizer: PreTrainedTokenizerFast, share: float, low: float, high: float
) -> None:
    dataset = get_custom_dataset(
        "train", tokenizer=tokenizer, path="arithmetic", type="sft", size=400, terse_share=share
    )
    texts = [tokenizer.decode(item["input_ids"]).split("assistant\n")[1] for item in dataset]
    assert all(re.fullmatch(r"(\d+[+-]\d+=\d+\n)*#### \d+<\|im_end\|>", text) for text in texts)
    assert low <= sum(text.startswith("####") for text in texts) / len(texts) <= high


def test_load_bad_terse_share_raises(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match=r"terse_share must be in \[0, 1\]"):
        get_custom_dataset("train", tokenizer=tokenizer, path="arithmetic", type="sft", terse_share=60)


def test_load_unknown_split_raises(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match="has splits"):
        get_custom_dataset("validation", tokenizer=tokenizer, path="arithmetic", type="rl")
