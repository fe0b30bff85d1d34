# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from areal.api.cli_args import (
    GenerationHyperparameters,
    GRPOConfig,
    InferenceEngineConfig,
    MicroBatchSpec,
    PPOActorConfig,
    SFTConfig,
    TrainDatasetConfig,
    TrainEngineConfig,
    describe_plan,
)


def rows(plan: str) -> dict[str, list[str]]:
    """First column (two blanks end a column) -> other columns."""
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in plan.splitlines()]
    return {row[0]: row[1:] for row in cells if len(row) > 1}


def ppo(**actor):
    return GRPOConfig(
        experiment_name="e",
        trial_name="t",
        gconfig=GenerationHyperparameters(n_samples=4, max_new_tokens=16),
        train_dataset=TrainDatasetConfig(batch_size=6, max_length=32),
        rollout=InferenceEngineConfig(backend="native:d2", max_head_offpolicyness=1),
        actor=PPOActorConfig(path="m", **actor),
    )


def test_plan_of_ppo_counts_samples_ranks_and_processes():
    # 6 prompts x 4 = 24 samples; 2 ranks: 12 each; 3 updates of 4; 100 tokens hold 2 samples of 48: at most 2 bins.
    plan = describe_plan(ppo(backend="fsdp:d2", ppo_n_minibatches=3, mb_spec=MicroBatchSpec(max_tokens_per_mb=100)))
    table = rows(plan)
    assert [table[name][0] for name in ("prompts", "x group", "= samples", "samples per rank")] == [
        "6",
        "4",
        "24",
        "12",
    ]
    assert table["optimizer updates"][:2] == ["3", "of 4 sample(s) per rank"]
    assert table["micro-batches per rank"][0] == "1 to 2"
    assert table["staleness"] == ["1", "versions; up to 12 prompts in flight or waiting"]
    assert table["rollout server"] == ["2", "native:d2", "auto", "auto", "m"]
    assert table["trainer"][:2] == ["2", "fsdp:d2"]
    assert "reference" not in table
    assert "logs/" in plan.splitlines()[-1]


def test_plan_without_token_cap_gives_the_number_of_micro_batches():
    table = rows(describe_plan(ppo(mb_spec=MicroBatchSpec(n_mbs=3, n_mbs_divisor=2))))
    assert table["micro-batches per rank"][0] == "4"


def test_plan_of_sft_has_no_servers():
    config = SFTConfig(
        experiment_name="e",
        trial_name="t",
        actor=TrainEngineConfig(path="m", backend="fsdp:d4", mb_spec=MicroBatchSpec(max_tokens_per_mb=64)),
        train_dataset=TrainDatasetConfig(batch_size=16, max_length=32),
    )
    table = rows(describe_plan(config))
    assert table["items per rank"][0] == "4"
    assert table["micro-batches per rank"][0] == "1 to 2"
    assert "rollout server" not in table
