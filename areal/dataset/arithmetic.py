# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Generated word problems of small sums in GSM8K's answer format: the task on which a laptop CPU sees a model learn.

    Tom has 12 apples. Ann gives Tom 3 more. Tom loses 5. How many apples does Tom have now?
    12+3=15
    15-5=10
    #### 10

SFT data mixes worked answers with terse ones (`#### 10` alone); RL then finds that showing the work pays. Train and test
are disjoint by construction, and so are SFT and RL: a hash of the question decides where it belongs.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from areal.dataset.items import rl_dataset, sft_dataset, with_eos
from areal.utils.errors import ConfigError
from areal.utils.seeding import derive_deterministic_seed

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

_NAMES = [
    "Tom",
    "Ann",
    "Sam",
    "Mia",
    "Leo",
    "Eva",
    "Max",
    "Zoe",
    "Ben",
    "Ivy",
    "Dan",
    "Amy",
    "Kai",
    "Lily",
    "Noah",
    "Ruby",
]
_THINGS = ["apples", "books", "coins", "pens", "cards", "shells", "stamps", "marbles", "cookies", "toys"]
_GAINS = (
    "{who} buys {b} more.",
    "{who} finds {b} more.",
    "{other} gives {who} {b} more.",
    "{who} wins {b} at a fair.",
    "{who} gets {b} from {other}.",
)
_LOSSES = (
    "{who} gives {b} to {other}.",
    "{who} loses {b}.",
    "{who} sells {b}.",
    "{other} takes {b} away.",
    "{who} drops {b} of them.",
)

SPLITS = ("train", "test")
DEFAULT_SIZES = {("train", "sft"): 4000, ("train", "rl"): 20000, ("test", "sft"): 1000, ("test", "rl"): 1000}
"""Sizes of the measured recipe."""
_BUCKETS = {
    ("train", "sft"): range(1, 4),
    ("train", "rl"): range(4, 10),
    ("test", "sft"): range(1),
    ("test", "rl"): range(1),
}
"""Tenths of the question space: 1 for testing, 3 for SFT, 6 for RL."""
_MAX_MISSES = 10000
"""Problems in a row that were duplicates or of another part; then the question space is taken to be exhausted."""


@dataclass(frozen=True)
class Problem:
    """A question, its worked answer (which ends in `#### N`) and the number N."""

    question: str
    worked_answer: str
    result: int

    @property
    def terse_answer(self) -> str:
        """The final line alone."""
        return f"#### {self.result}"


def make_problem(rng: random.Random, steps: Sequence[int] = (2, 4), max_operand: int = 9, cap: int = 30) -> Problem:
    """A random problem of `steps[0]..steps[1]` sums with operands 2..max_operand and running values 1..cap."""
    who, other = rng.sample(_NAMES, 2)
    thing = rng.choice(_THINGS)
    value = rng.randint(2, cap // 2)
    sentences, lines = [f"{who} has {value} {thing}."], []
    for _ in range(rng.randint(steps[0], steps[1])):
        signs = [sign for sign, possible in (("+", value + 2 <= cap), ("-", value > 3)) if possible]
        sign = rng.choice(signs)
        if sign == "+":
            b = rng.randint(2, min(max_operand, cap - value))
            template, after = rng.choice(_GAINS), value + b
        else:
            b = rng.randint(2, min(max_operand, value - 1))
            template, after = rng.choice(_LOSSES), value - b
        sentences.append(template.format(who=who, other=other, b=b))
        lines.append(f"{value}{sign}{b}={after}")
        value = after
    sentences.append(f"How many {thing} does {who} have now?")
    return Problem(" ".join(sentences), "\n".join([*lines, f"#### {value}"]), value)


def make_problems(
    split: str,
    type: str,
    size: int,
    seed: int = 0,
    steps: Sequence[int] = (2, 4),
    max_operand: int = 9,
    cap: int = 30,
) -> list[Problem]:
    """`size` different problems of a part (split and type), a function of the arguments alone.

    No question of one part can appear in another, whatever the sizes and seeds: train and test, SFT and RL are disjoint.
    """
    if (split, type) not in _BUCKETS:
        raise ConfigError(f"arithmetic has splits {list(SPLITS)} and types ['sft', 'rl'], got {split!r} and {type!r}")
    if size < 1 or max_operand < 2 or cap < 6 or len(steps) != 2 or not 1 <= steps[0] <= steps[1]:
        raise ConfigError(
            "arithmetic needs size >= 1, max_operand >= 2, cap >= 6 and steps [least, most] >= 1, got "
            f"size={size}, max_operand={max_operand}, cap={cap}, steps={list(steps)}"
        )
    buckets = _BUCKETS[split, type]
    rng = random.Random(derive_deterministic_seed(f"arithmetic/{split}/{type}", seed))
    problems: dict[str, Problem] = {}
    misses = 0
    while len(problems) < size:
        problem = make_problem(rng, steps, max_operand, cap)
        if problem.question in problems or zlib.crc32(problem.question.encode()) % 10 not in buckets:
            misses += 1
            if misses > _MAX_MISSES:
                raise ConfigError(
                    f"only {len(problems)} different {split} problems exist with cap={cap}, max_operand={max_operand}, "
                    f"steps={list(steps)}, but size is {size}; lower size or widen the others"
                )
            continue
        misses = 0
        problems[problem.question] = problem
    return list(problems.values())


def load(
    path: str,
    *,
    split: str,
    type: str,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_length: int | None = None,
    size: int | None = None,
    seed: int = 0,
    terse_share: float = 0.6,
    steps: Sequence[int] = (2, 4),
    max_operand: int = 9,
    cap: int = 30,
) -> Dataset:
    """Generated items (`size` None: as in the measured recipe).

    sft: `input_ids`, `loss_mask`; a `terse_share` of the items answers with the final line alone. rl: `messages`, `answer`
    (worked, ending in `#### N`) and `eos_token_id`, by which the reward sees that a completion ended by itself.
    """
    if not 0 <= terse_share <= 1:
        raise ConfigError(f"terse_share must be in [0, 1], got {terse_share}")
    size = DEFAULT_SIZES.get((split, type), 1) if size is None else size
    problems = make_problems(split, type, size, seed, steps, max_operand, cap)
    if type == "sft":
        rng = random.Random(derive_deterministic_seed(f"arithmetic/{split}/style", seed))
        answers = [p.terse_answer if rng.random() < terse_share else p.worked_answer for p in problems]
        pairs = [(problem.question, answer) for problem, answer in zip(problems, answers, strict=True)]
        return sft_dataset(pairs, tokenizer, max_length, "arithmetic")
    eos_token_id = with_eos(tokenizer, "arithmetic").eos_token_id
    rows = [
        {
            "messages": [{"role": "user", "content": problem.question}],
            "answer": problem.worked_answer,
            "eos_token_id": eos_token_id,
        }
        for problem in problems
    ]
    return rl_dataset(rows, tokenizer, max_length, "arithmetic")
