# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The losses on a real HF model through `FSDPEngine`: the update must not depend on how the batch was laid out."""

import pytest
import torch

from areal.api.cli_args import MicroBatchSpec, NormConfig, OptimizerConfig, PPOActorConfig
from areal.api.io_struct import FinetuneSpec
from areal.trainer.ppo import PPOActor
from areal.trainer.sft import LMEngine
from areal.utils import stats_tracker
from tests.distributed import run_ranks
from tests.trainer.fake_engine import VOCAB
from tests.trainer.ppo.batches import trajectory

LR = 0.5


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    path = tmp_path_factory.mktemp("model")
    Qwen2ForCausalLM(config).save_pretrained(path)
    return str(path)


@pytest.fixture(autouse=True)
def _clean_stats():
    stats_tracker.export()
    yield
    stats_tracker.export()


def _config(path, backend="fsdp:d1", mb_spec=None, **settings):
    # SGD without clipping: the parameters after one step show the gradient itself.
    optimizer = OptimizerConfig(
        type="sgd",
        lr=LR,
        beta1=0.0,
        weight_decay=0.0,
        gradient_clipping=1e6,
        warmup_steps=0,
        lr_scheduler_type="constant",
    )
    return PPOActorConfig(
        experiment_name="e",
        trial_name="t",
        backend=backend,
        path=path,
        dtype="float32",
        optimizer=optimizer,
        mb_spec=mb_spec or MicroBatchSpec(),
        reward_norm=NormConfig("group", False, "group"),
        **{"ppo_n_minibatches": 1, **settings},
    )


def _engine(config):
    from areal.api.alloc_mode import ModelAllocation
    from areal.engine.fsdp_engine import FSDPEngine

    engine = FSDPEngine(config)
    engine.create_process_group(ModelAllocation.from_str(config.backend).parallel)
    engine.initialize(None, FinetuneSpec(total_train_epochs=1, dataset_size=4, train_batch_size=4))
    return engine


def _data():
    return [
        trajectory([(2, 3, 0), (2, 5, 0)], [1.0, 0.0], seed=1),
        trajectory([(3, 4, 1), (3, 2, 0), (3, 1, 0)], [0.0, 1.0, 1.0], seed=2),
        trajectory([(1, 6, 0), (1, 4, 0)], [0.0, 1.0], seed=3),
    ]


def _step(config, data, algorithm):
    engine = _engine(config)
    try:
        if algorithm == "sft":
            keep = ("input_ids", "attention_mask", "loss_mask")
            found = LMEngine(engine).train_lm([{name: t[name] for name in keep} for t in data])
        else:
            actor = PPOActor(config, engine)
            if config.should_compute_prox_logp():
                data = [{**t, "prox_logp": logp} for t, logp in zip(data, actor.compute_logp(data), strict=True)]
            found = actor.ppo_update(actor.compute_advantages(data))
        return {name: value.clone() for name, value in engine.state_iter()}, found
    finally:
        engine.destroy()


ALGORITHMS = {
    "grpo": {"eps_clip_higher": 0.28},
    "gspo": {"importance_sampling_level": "sequence"},
    "decoupled": {"use_decoupled_loss": True},
    "sft": {},
}


def _assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            found[name], expected[name], atol=2e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_update_is_the_same_for_any_packing_and_order(model_path, algorithm):
    settings = ALGORITHMS[algorithm]
    whole, _ = _step(_config(model_path, **settings), _data(), algorithm)
    one_by_one, stats = _step(_config(model_path, mb_spec=MicroBatchSpec(n_mbs=7), **settings), _data(), algorithm)
    assert stats["num_micro_batches"] == 7
    _assert_same(one_by_one, whole)
    backwards = [{k: v.flip(0) for k, v in t.items()} for t in reversed(_data())]
    capped, _ = _step(
        _config(model_path, mb_spec=MicroBatchSpec(max_tokens_per_mb=13), **settings), backwards, algorithm
    )
    _assert_same(capped, whole)


def _rank_step(rank, world_size, path, algorithm, shares):
    config = _config(path, backend=f"fsdp:d{world_size}", **ALGORITHMS[algorithm])
    data = _data()
    return _step(config, [data[i] for i in shares[rank]], algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_update_is_the_same_for_any_data_parallel_size(model_path, algorithm):
    whole, stats = _step(_config(model_path, **ALGORITHMS[algorithm]), _data(), algorithm)
    for found, rank_stats in run_ranks(_rank_step, 2, model_path, algorithm, [[1], [0, 2]]):
        _assert_same(found, whole)
        assert rank_stats["loss_weight"] == stats["loss_weight"]
        assert rank_stats["loss"] == pytest.approx(stats["loss"], rel=1e-4)


def _padded_logprobs(model, t):
    """Log-probs of every next token by the plain HF forward of one padded batch: no packing anywhere."""
    ids = t["input_ids"].long()
    logp = model(ids, attention_mask=t["attention_mask"].long()).logits.float().log_softmax(-1)
    return logp[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]


@pytest.mark.parametrize("algorithm", ["grpo", "sft"])
def test_update_equals_autograd_of_the_naive_loss_on_padded_batches(model_path, algorithm):
    from transformers import AutoModelForCausalLM

    found, _ = _step(_config(model_path, **ALGORITHMS[algorithm]), _data(), algorithm)
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    total, count = 0.0, 0
    for t in _data():
        logp = _padded_logprobs(model, t)
        rewards = t["rewards"]
        advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-5)
        for row in range(len(rewards)):
            for position in torch.nonzero(t["loss_mask"][row])[:, 0].tolist():
                lp = logp[row, position - 1]
                ratio = (lp - t["logprobs"][row, position]).exp()
                a = advantages[row]
                ppo = torch.maximum(-a * ratio, -a * ratio.clamp(0.8, 1.28))
                total, count = total + (-lp if algorithm == "sft" else ppo), count + 1
    (total / count).backward()
    expected = {name: (param - LR * param.grad).detach() for name, param in model.named_parameters()}
    _assert_same(found, {name: expected[name] for name in found})


def test_dummy_rank_changes_nothing(model_path):
    from areal.utils.data import make_dummy_trajectory

    data = _data()
    whole, stats = _step(_config(model_path), data, "grpo")
    found, with_dummy = _step(_config(model_path), [*data, make_dummy_trajectory(data[0])], "grpo")
    _assert_same(found, whole)
    assert with_dummy["loss_weight"] == stats["loss_weight"]


def test_mismatch_of_log_probs_from_the_same_weights_is_rounding_only(model_path):
    config = _config(model_path, use_decoupled_loss=True)
    engine = _engine(config)
    actor, data = PPOActor(config, engine), _data()
    for t, logp in zip(data, actor.compute_logp(data), strict=True):
        t["logprobs"][:, 1:] = logp[:, :-1] * t["loss_mask"][:, 1:]
        t["prox_logp"] = logp
    actor.ppo_update(actor.compute_advantages(data))
    engine.destroy()
    found = stats_tracker.export()
    assert found["invariants/logprobs/max_abs_diff"] < 1e-5
    assert abs(found["invariants/logprobs/mismatch_kl"]) < 1e-6
    assert found["ppo_actor/update/importance_weight/max"] == pytest.approx(1.0, abs=1e-4)
