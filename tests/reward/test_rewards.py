# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from areal.api.reward_api import AsyncRewardWrapper, close_reward_pools
from areal.dataset.local_files import read_jsonl
from areal.reward import MathVerifyWorker, arithmetic_reward_fn, get_math_verify_worker, gsm8k_reward_fn

GSM8K = Path(__file__).resolve().parents[3] / "shared" / "data" / "gsm8k"
EOS = 2


# The table that was run on AReaL 2.0.0, against the reference answer 72.
@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        (r"\boxed{72}", 1.0),
        ("The answer is 72", 1.0),
        ("72", 1.0),
        ("72.0 boxed", 1.0),
        ("#### 72", 1.0),
        (r"\boxed{73}", 0.0),
        ("no number", 0.0),
        ("", 0.0),
        (r"The final answer is \boxed{5}. The final answer is \boxed{72}", 1.0),
        (r"\boxed{1}</think> \boxed{72}", 0.0),
        (r"\boxed{72} or perhaps \boxed{5}", 0.0),
        (r"\boxed{72}<|im_end|>", 1.0),
    ],
)
def test_gsm8k_reward_reference_table(completion: str, reward: float) -> None:
    answer = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nAltogether <<48+24=72>>72.\n#### 72"
    assert gsm8k_reward_fn(None, completion, None, None, answer) == reward


@pytest.mark.parametrize(("gold", "completion"), [("#### 1,234", "1234"), ("#### 1234", r"\boxed{1,234}")])
def test_gsm8k_reward_thousands_separator_is_equal(gold: str, completion: str) -> None:
    assert gsm8k_reward_fn(None, completion, None, None, gold) == 1.0


def test_gsm8k_reward_reference_without_answer_raises() -> None:
    with pytest.raises(ValueError, match="expected a number or formula in the reference answer"):
        gsm8k_reward_fn(None, "72", None, None, "no idea")


def test_math_verify_worker_formulas_compare_by_value() -> None:
    worker = MathVerifyWorker()
    assert worker.verify(r"so $x = \frac{1}{2}$", r"$0.5$") == 1.0
    assert worker.verify(r"\boxed{2\sqrt{3}}", r"$\sqrt{12}$") == 1.0
    assert worker.verify(r"\boxed{2\sqrt{3}}", r"$\sqrt{13}$") == 0.0


def test_get_math_verify_worker_is_one_a_process() -> None:
    assert get_math_verify_worker() is get_math_verify_worker()


def test_gsm8k_reward_every_reference_solution_scores_and_a_changed_one_does_not() -> None:
    if not GSM8K.is_dir():
        pytest.skip(f"the GSM8K files are not at {GSM8K}")
    for record in read_jsonl(GSM8K / "test.jsonl", ["answer"])[:150]:
        number = record["answer"].rpartition("#### ")[2]
        assert gsm8k_reward_fn(None, f"... \\boxed{{{number}}}", None, None, record["answer"]) == 1.0
        wrong = str(int(number.replace(",", "")) + 1)
        assert gsm8k_reward_fn(None, f"... \\boxed{{{wrong}}}", None, None, record["answer"]) == 0.0


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("12+3=15\n#### 15", 1.0),
        ("#### 15", 1.0),
        ("#### 15<|im_end|>", 1.0),
        ("#### 15\n", 1.0),
        ("#### 16", 0.0),
        ("12+3=15", 0.0),
        ("#### 15 apples", 0.0),
        ("#### 15\n#### 15", 0.0),
        ("#### 7\n#### 15", 0.0),
        ("#### 15\n#### 7", 0.0),
        ("####15", 0.0),
        ("#### 15.0", 0.0),
        ("#### 015", 1.0),
        ("", 0.0),
    ],
)
def test_arithmetic_reward_wants_one_final_marked_number(completion: str, reward: float) -> None:
    assert arithmetic_reward_fn("q", completion, [1], [5, EOS], answer="#### 15", eos_token_id=EOS) == reward


@pytest.mark.parametrize("ids", [[5, 6], []])
def test_arithmetic_reward_without_eos_is_zero(ids: list[int]) -> None:
    assert arithmetic_reward_fn("q", "#### 15", [1], ids, answer="#### 15", eos_token_id=EOS) == 0.0


def test_arithmetic_reward_negative_and_worked_reference_answers() -> None:
    answer = "2-5=-3\n#### -3"
    assert arithmetic_reward_fn("q", "#### -3", [1], [EOS], answer=answer, eos_token_id=EOS, messages=[]) == 1.0
    with pytest.raises(ValueError, match="ending in '#### N'"):
        arithmetic_reward_fn("q", "#### -3", [1], [EOS], answer="-3", eos_token_id=EOS)


def test_rewards_in_the_wrapper_score_and_bound_what_math_verify_cannot() -> None:
    async def test() -> list:
        quick = AsyncRewardWrapper(gsm8k_reward_fn, max_workers=2)
        strict = AsyncRewardWrapper(gsm8k_reward_fn, timeout_seconds=3, max_workers=2)
        calls = [
            quick("q", r"\boxed{4}", [1], [2], answer="#### 4", messages=[]),
            strict("q", r"\boxed{9^{9^{9^{9}}}}", [1], [2], answer="#### 4"),
            quick("q", r"\boxed{5}", [1], [2], answer="#### 4"),
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
        await close_reward_pools()
        return results

    first, tower, last = asyncio.run(test())
    assert (first, last) == (1.0, 0.0)
    assert tower == 0.0 or re.search("TimeoutError|MemoryError", str(tower))


def test_reward_package_imports_without_torch_and_lazily() -> None:
    code = (
        "import sys, areal.reward; assert 'math_verify' not in sys.modules; "
        "from areal.reward import gsm8k_reward_fn, arithmetic_reward_fn; import areal.api.reward_api; "
        "gsm8k_reward_fn('q', '4', [1], [2], '#### 4'); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
