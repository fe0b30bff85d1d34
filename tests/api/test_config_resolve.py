# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import copy
import dataclasses
import pickle

import pytest

from areal.api.cli_args import (
    FSDPEngineConfig,
    GenerationHyperparameters,
    GRPOConfig,
    InferenceEngineConfig,
    MicroBatchSpec,
    NativeConfig,
    NormConfig,
    OptimizerConfig,
    PPOActorConfig,
    RejectionSamplingConfig,
    SaverConfig,
    SFTConfig,
    TrainDatasetConfig,
    TrainEngineConfig,
    ValidDatasetConfig,
)
from areal.utils.errors import ConfigError


def make(cls=GRPOConfig, **changes):
    """A small valid experiment with whole sections replaced."""
    values = {
        "experiment_name": "exp",
        "trial_name": "t0",
        "gconfig": GenerationHyperparameters(n_samples=4, max_new_tokens=16),
        "actor": PPOActorConfig(path="some/model"),
        "train_dataset": TrainDatasetConfig(batch_size=8, max_length=32),
        **changes,
    }
    return cls(**values)


def test_what_need_not_be_asked_is_derived():
    config = make(cluster=dataclasses.replace(make().cluster, fileroot="/data"), valid_dataset=ValidDatasetConfig())
    for section in (config.saver, config.evaluator, config.recover, config.stats_logger, config.rollout):
        assert (section.experiment_name, section.trial_name, section.fileroot) == ("exp", "t0", "/data")
    assert (config.actor.experiment_name, config.actor.trial_name) == ("exp", "t0")
    assert config.rollout.consumer_batch_size == 8
    assert config.tokenizer_path == config.native.model_path == "some/model"
    assert (config.actor.temperature, config.actor.max_new_tokens) == (1.0, 16)
    assert (config.actor.backend, config.rollout.backend) == ("fsdp:d1", "native:d1")
    assert config.train_dataset.type == config.valid_dataset.type == "rl"
    assert config.eval_gconfig == config.gconfig
    assert config.eval_gconfig is not config.gconfig


@pytest.mark.parametrize(
    ("actor_dtype", "native_dtype", "expected"),
    [
        ("bfloat16", None, "bfloat16"),
        ("fp32", None, "float32"),
        ("bfloat16", "float32", "float32"),
        ("float32", "fp16", "float16"),
    ],
)
def test_native_dtype_is_that_of_the_actor_unless_it_is_set(actor_dtype: str, native_dtype: str | None, expected: str):
    config = make(actor=PPOActorConfig(path="m", dtype=actor_dtype), native=NativeConfig(dtype=native_dtype))

    assert config.native.dtype == expected


def test_config_survives_copy_and_pickle_unchanged():
    config = make(actor=PPOActorConfig(path="m", kl_ctl=0.1, reward_norm=NormConfig("group")), ref=TrainEngineConfig())
    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert dataclasses.replace(config) == config


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"saver": SaverConfig(trial_name="other")}, ["saver.trial_name", "'t0'", "'other'"]),
        ({"saver": SaverConfig(fileroot="/x")}, ["saver.fileroot", "cluster.fileroot", "'/x'"]),
        ({"rollout": InferenceEngineConfig(consumer_batch_size=4)}, ["rollout.consumer_batch_size", "8", "4"]),
        ({"actor": PPOActorConfig(temperature=0.7)}, ["actor.temperature", "gconfig.temperature", "0.7", "1.0"]),
        ({"actor": PPOActorConfig(max_new_tokens=99)}, ["actor.max_new_tokens", "16", "99"]),
        (
            {"actor": PPOActorConfig(reward_norm=NormConfig("group", group_size=2))},
            ["reward_norm.group_size", "4", "2"],
        ),
        ({"actor": PPOActorConfig(kl_ctl=0.1)}, ["actor.kl_ctl=0.1", "ref"]),
        ({"actor": PPOActorConfig(backend="native:d1")}, ["actor.backend", "fsdp", "native:d1"]),
        ({"rollout": InferenceEngineConfig(backend="fsdp:d1")}, ["rollout.backend", "native", "fsdp:d1"]),
        ({"experiment_name": ""}, ["experiment_name", "non-empty"]),
        ({"trial_name": ".."}, ["trial_name", "'..'"]),
    ],
)
def test_contradiction_is_refused_with_both_values(changes, parts):
    with pytest.raises(ConfigError) as caught:
        make(**changes)
    for part in parts:
        assert part in caught.value.args[0]


@pytest.mark.parametrize(
    ("sampling", "field"),
    [({"top_p": 0.9}, "gconfig.top_p"), ({"top_k": 50}, "gconfig.top_k"), ({"greedy": True}, "gconfig.greedy")],
)
def test_truncated_sampling_is_refused_for_training_and_allowed_for_evaluation(sampling, field):
    truncated = GenerationHyperparameters(max_new_tokens=16, **sampling)
    with pytest.raises(ConfigError, match=rf"{field}.*importance ratios"):
        make(gconfig=truncated)
    assert make(eval_gconfig=truncated).eval_gconfig == truncated


def test_deterministic_sampling_excludes_staleness_and_shared_seeds():
    with pytest.raises(ConfigError, match=r"max_head_offpolicyness: expected 0 .*got 1"):
        make(rollout=InferenceEngineConfig(deterministic_sampling=True, max_head_offpolicyness=1))
    for path in ("gconfig", "eval_gconfig"):
        seeded = GenerationHyperparameters(n_samples=4, max_new_tokens=16, seed=3)
        with pytest.raises(
            ConfigError, match=rf"(?<!eval_){path}\.seed" if path == "gconfig" else r"eval_gconfig\.seed"
        ):
            make(rollout=InferenceEngineConfig(deterministic_sampling=True), **{path: seeded})
    single = GenerationHyperparameters(n_samples=1, max_new_tokens=16, seed=3)
    make(rollout=InferenceEngineConfig(deterministic_sampling=True), gconfig=single)


# Longest item: 32 prompt tokens + 16 new ones = 48.
@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        (
            {"gconfig": GenerationHyperparameters(n_samples=4, max_new_tokens=16, max_tokens=47)},
            "gconfig.max_tokens=47",
        ),
        ({"native": NativeConfig(max_model_len=47)}, "native.max_model_len=47"),
        ({"actor": PPOActorConfig(mb_spec=MicroBatchSpec(max_tokens_per_mb=47))}, "actor.mb_spec.max_tokens_per_mb=47"),
    ],
)
def test_longest_sequence_over_a_limit_is_refused_with_all_numbers(changes, limit):
    with pytest.raises(ConfigError) as caught:
        make(**changes)
    for part in (limit, "48", "train_dataset.max_length=32", "gconfig.max_new_tokens=16"):
        assert part in caught.value.args[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"gconfig": GenerationHyperparameters(n_samples=4, max_new_tokens=16, max_tokens=48)},
        {"native": NativeConfig(max_model_len=48)},
        {"actor": PPOActorConfig(mb_spec=MicroBatchSpec(max_tokens_per_mb=48))},
        {"native": NativeConfig(max_model_len=47), "rollout": InferenceEngineConfig(backend="vllm:d1")},
        {"train_dataset": TrainDatasetConfig(max_length=None), "native": NativeConfig(max_model_len=17)},
    ],
)
def test_longest_sequence_within_the_limits_passes(changes):
    make(**changes)


def test_answer_alone_over_the_limit_is_refused_without_max_length():
    with pytest.raises(ConfigError, match=r"native\.max_model_len=16.*max_length=None"):
        make(train_dataset=TrainDatasetConfig(max_length=None), native=NativeConfig(max_model_len=16))


def test_validation_lengths_are_checked_against_evaluation_sampling():
    with pytest.raises(ConfigError, match=r"native\.max_model_len=4096.*valid_dataset\.max_length=4090"):
        make(valid_dataset=ValidDatasetConfig(max_length=4090))


def test_reference_without_kl_is_dropped_with_a_warning():
    with pytest.warns(UserWarning, match="no reference engine"):
        assert make(ref=TrainEngineConfig()).ref is None


def test_reference_with_kl_takes_path_backend_and_temperature_of_the_actor():
    gconfig = GenerationHyperparameters(max_new_tokens=16, temperature=0.8)
    config = make(
        actor=PPOActorConfig(path="m", kl_ctl=0.1, backend="fsdp:d2"), ref=TrainEngineConfig(), gconfig=gconfig
    )
    assert (config.ref.path, config.ref.backend, config.ref.temperature) == ("m", "fsdp:d2", 0.8)
    other = make(actor=PPOActorConfig(path="m", kl_ctl=0.1), ref=TrainEngineConfig(path="other"))
    assert other.ref.path == "other"


def test_group_size_of_norms_is_filled_only_where_groups_matter():
    config = make(actor=PPOActorConfig(reward_norm=NormConfig("group", std_level=None), adv_norm=NormConfig()))
    assert config.actor.reward_norm.group_size == 4
    assert config.actor.adv_norm.group_size == 1


def test_centring_groups_of_one_warns():
    with pytest.warns(UserWarning, match=r"actor\.reward_norm.*n_samples=1"):
        make(
            gconfig=GenerationHyperparameters(n_samples=1, max_new_tokens=16),
            actor=PPOActorConfig(reward_norm=NormConfig("group")),
        )


@pytest.mark.parametrize("rejection", [None, RejectionSamplingConfig()])
@pytest.mark.parametrize("decoupled", [True, False])
def test_decoupled_loss_and_rejection_sampling_are_independent(rejection, decoupled, recwarn):
    make(actor=PPOActorConfig(use_decoupled_loss=decoupled, rejection_sampling=rejection))
    assert not recwarn.list


def test_sft_fills_temperature_and_refuses_another():
    values = {"train_dataset": TrainDatasetConfig(), "experiment_name": "e", "trial_name": "t"}
    assert SFTConfig(actor=TrainEngineConfig(path="m"), **values).actor.temperature == 1.0
    with pytest.raises(ConfigError, match=r"actor\.temperature"):
        SFTConfig(actor=TrainEngineConfig(temperature=0.5), **values)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"metric": "kl_k4"}, "metric"),
        ({"action": "clamp", "metric": "kl_k2"}, "clamp"),
        ({"upper": 2.0, "lower": 3.0}, "lower"),
        ({"upper": 1.0}, "upper > 1"),
        ({"lower": 0.0}, "lower > 0"),
        ({"metric": "kl_k3", "upper": 0.0}, "upper > 0"),
    ],
)
def test_rejection_sampling_contradiction_is_refused(values, word):
    with pytest.raises(ConfigError, match=word):
        RejectionSamplingConfig(**values)


def test_rejection_sampling_published_recipes_construct():
    RejectionSamplingConfig(metric="ratio", upper=5.0, lower=0.5)  # IcePop
    RejectionSamplingConfig(metric="binary_kl", upper=2.0)  # KPop
    RejectionSamplingConfig(metric="kl_k1", upper=-0.1, lower=-2.0)  # k1 is signed
    with pytest.warns(UserWarning, match="agg"):
        RejectionSamplingConfig(agg="max")


@pytest.mark.parametrize(("alias", "dtype"), [("bf16", "bfloat16"), ("fp32", "float32"), ("bfloat16", "bfloat16")])
def test_dtype_aliases_become_canonical(alias, dtype):
    config = TrainEngineConfig(dtype=alias, grad_reduce_dtype=alias, optimizer_dtype=alias)
    assert (config.dtype, config.grad_reduce_dtype, config.optimizer_dtype) == (dtype,) * 3
    assert NativeConfig(dtype=alias).dtype == dtype


def test_loading_nothing_in_a_memory_efficient_way_is_refused():
    with pytest.raises(ConfigError, match="memory_efficient_load"):
        TrainEngineConfig(init_from_scratch=True, fsdp=FSDPEngineConfig(memory_efficient_load=True))


def test_actor_rules_of_penalty_and_reused_logprobs():
    with pytest.raises(ConfigError, match="overlong_tokens"):
        PPOActorConfig(overlong_reward_penalty=True)
    with pytest.warns(UserWarning, match="ppo_n_minibatches=4 becomes 1"):
        assert PPOActorConfig(prox_logp_method="reuse_train_logp").ppo_n_minibatches == 1


@pytest.mark.parametrize(
    ("decoupled", "recompute", "method", "expected"),
    [
        (True, False, "recompute", True),
        (True, True, "reuse_train_logp", False),
        (False, True, "recompute", True),
        (False, False, "recompute", False),
    ],
)
def test_should_compute_prox_logp(decoupled, recompute, method, expected):
    config = PPOActorConfig(
        use_decoupled_loss=decoupled, recompute_logprob=recompute, prox_logp_method=method, ppo_n_minibatches=1
    )
    assert config.should_compute_prox_logp() is expected


def test_warmup_given_twice_warns_that_steps_win():
    with pytest.warns(UserWarning, match="warmup_steps=5"):
        OptimizerConfig(warmup_steps=5, warmup_steps_proportion=0.1)


def test_generation_copies_do_not_share_lists_and_are_checked():
    gconfig = GenerationHyperparameters(stop_token_ids=[1])
    other = gconfig.new(temperature=0.5)
    other.stop_token_ids.append(2)
    assert gconfig.stop_token_ids == [1]
    with pytest.raises(ConfigError, match="temperature"):
        gconfig.new(temperature=0)
    with pytest.raises(ConfigError, match="min_new_tokens"):
        gconfig.new(min_new_tokens=20000)


def test_stop_tokens_of_tokenizer_are_added_pad_first_without_repeats():
    class Tokenizer:
        pad_token_id, eos_token_id = 7, 5

    class NoPad:
        pad_token_id, eos_token_id = None, 5

    gconfig = GenerationHyperparameters(stop_token_ids=[5, 3])
    assert gconfig.new_with_stop_and_pad_token_ids(Tokenizer()).stop_token_ids == [5, 3, 7]
    assert GenerationHyperparameters().new_with_stop_and_pad_token_ids(Tokenizer()).stop_token_ids == [7, 5]
    assert gconfig.new_with_stop_and_pad_token_ids(NoPad()).stop_token_ids == [5, 3]
    assert gconfig.stop_token_ids == [5, 3]


def test_micro_batch_spec_new_copies():
    spec = MicroBatchSpec(max_tokens_per_mb=10)
    assert MicroBatchSpec.new(spec, n_mbs=2) == MicroBatchSpec(n_mbs=2, max_tokens_per_mb=10)
    assert spec.n_mbs == 1
