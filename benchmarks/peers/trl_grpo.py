# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""TRL's GRPOTrainer on the demo's model, data and settings; run by `benchmarks/grpo_vs_trl.py` with TRL's own Python.

Prints one JSON line: seconds of each rollout step (one batch of samples, two optimizer steps).
"""

import argparse
import itertools
import json
import re
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

ANSWER = re.compile(r"#### (-?\d+)")


def reward(completions: list, answer: list[str], **_: object) -> list[float]:
    texts = [c[0]["content"] if isinstance(c, list) else c for c in completions]
    found = [ANSWER.findall(text) for text in texts]
    gold = [ANSWER.findall(text)[-1] for text in answer]
    return [
        float(len(f) == 1 and f[0] == g and t.rstrip().endswith("#### " + g))
        for f, g, t in zip(found, gold, texts, strict=True)
    ]


class StepClock(TrainerCallback):
    """Wall time at the end of every optimizer step."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def on_step_end(self, *_: object, **__: object) -> None:
        self.times.append(time.perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", required=True, help="jsonl with `messages` and `answer`")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in Path(args.prompts).read_text(encoding="utf-8").splitlines()]
    data = Dataset.from_list([{"prompt": r["messages"], "answer": r["answer"]} for r in rows])
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.model)
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=64,
        steps_per_generation=2,
        num_generations=8,
        max_completion_length=48,
        max_steps=2 * args.steps,
        learning_rate=2e-4,
        lr_scheduler_type="linear",
        adam_beta2=0.95,
        beta=0.0,
        epsilon=0.2,
        epsilon_high=0.28,
        loss_type="bnpo",
        temperature=1.0,
        gradient_checkpointing=False,
        shuffle_dataset=False,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    clock = StepClock()
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    trainer = GRPOTrainer(
        model=model, reward_funcs=reward, args=config, train_dataset=data, processing_class=tokenizer, callbacks=[clock]
    )
    trainer.train()
    ends = clock.times[::2]
    print(json.dumps({"step_s": [b - a for a, b in itertools.pairwise(ends)]}))


if __name__ == "__main__":
    main()
