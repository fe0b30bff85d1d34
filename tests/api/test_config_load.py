# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import textwrap

import pytest

from areal.api.cli_args import (
    GRPOConfig,
    OptimizerConfig,
    SFTConfig,
    is_dry_run,
    load_expr_config,
    parse_cli_args,
    to_structured_cfg,
)
from areal.utils.errors import ConfigError

BASE = """
experiment_name: exp
trial_name: t0
gconfig: {n_samples: 4, max_new_tokens: 16}
actor:
  path: some/model
  optimizer: {lr: 1.0e-4}
train_dataset: {batch_size: 8, max_length: 32}
"""


@pytest.fixture
def load(tmp_path):
    """Load a GRPO config from YAML text with overrides."""

    def _load(*overrides, text=BASE, cls=GRPOConfig):
        file = tmp_path / "c.yaml"
        file.write_text(textwrap.dedent(text))
        return load_expr_config(["driver.py", "--config", str(file), *overrides], cls)[0]

    return _load


def test_load_returns_object_and_path(tmp_path):
    file = tmp_path / "named.yml"
    file.write_text(BASE)
    config, path = load_expr_config(["--config", str(file)], GRPOConfig)
    assert isinstance(config, GRPOConfig)
    assert isinstance(config.actor.optimizer, OptimizerConfig)
    assert path == file.resolve()


def test_load_has_no_side_effects(tmp_path, load):
    before = set(tmp_path.iterdir())
    load(f"cluster.fileroot={tmp_path}/root")
    assert {p.name for p in set(tmp_path.iterdir()) - before} == {"c.yaml"}


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("actor.optimizer.lr=1e-5", lambda c: c.actor.optimizer.lr, 1e-5),
        ("actor.eps_clip=0.3", lambda c: c.actor.eps_clip, 0.3),  # not in the file: no + needed
        ("+actor.eps_clip=0.3", lambda c: c.actor.eps_clip, 0.3),
        ("+actor.optimizer.lr=2e-5", lambda c: c.actor.optimizer.lr, 2e-5),  # in the file: + does no harm
        ("++actor.eps_clip=0.3", lambda c: c.actor.eps_clip, 0.3),
        ("~actor.optimizer.lr", lambda c: c.actor.optimizer.lr, 1e-3),
        ("~actor.optimizer", lambda c: c.actor.optimizer, None),
        ("actor.optimizer=null", lambda c: c.actor.optimizer, None),
        ("gconfig.stop_token_ids=[3,4]", lambda c: c.gconfig.stop_token_ids, [3, 4]),
        ("train_dataset.dataset_kwargs={a: 1, b: [x]}", lambda c: c.train_dataset.dataset_kwargs, {"a": 1, "b": ["x"]}),
        ("train_dataset.dataset_kwargs.a.b=1", lambda c: c.train_dataset.dataset_kwargs, {"a": {"b": 1}}),
        ("actor.reward_norm.mean_level=group", lambda c: c.actor.reward_norm.mean_level, "group"),
        ("actor.reward_norm.std_level=null", lambda c: c.actor.reward_norm.std_level, None),
        ("trial_name=7", lambda c: c.trial_name, "7"),
        ("tokenizer_path=${actor.path}-tok", lambda c: c.tokenizer_path, "some/model-tok"),
        ("native.max_model_len=${gconfig.max_tokens}", lambda c: c.native.max_model_len, 32768),  # a default's value
        ("recover.mode=on", lambda c: c.recover.mode, "on"),
        ("rollout.request_timeout=60", lambda c: c.rollout.request_timeout, 60.0),
    ],
)
def test_override_forms_take_effect(load, override, read, expected):
    assert read(load(override)) == expected


def test_override_of_list_element_takes_effect(load):
    config = load(
        "gconfig.stop_token_ids.1=9", text=BASE.replace("n_samples: 4", "n_samples: 4, stop_token_ids: [1, 2]")
    )
    assert config.gconfig.stop_token_ids == [1, 9]


def test_override_below_a_reference_changes_only_the_copy(load):
    config = load("eval_gconfig.temperature=0.5", text=BASE + "eval_gconfig: ${gconfig}\n")
    assert config.gconfig.temperature == 1.0
    assert dataclasses.asdict(config.eval_gconfig) == {**dataclasses.asdict(config.gconfig), "temperature": 0.5}


def test_later_override_wins(load):
    assert load("seed=3", "seed=4").seed == 4


@pytest.mark.parametrize("section", ["evaluator", "perf_tracer", "scheduler", "cluster", "native"])
def test_empty_section_means_its_defaults(load, section):
    config = load(text=BASE + f"{section}:\n")
    assert vars(config)[section] == vars(load())[section]


@pytest.mark.parametrize(("word", "mode"), [("on", "on"), ("off", "off"), ("auto", "auto")])
def test_recover_mode_bare_yaml_word_is_not_a_boolean(load, word, mode):
    assert load(text=BASE + f"recover: {{mode: {word}}}\n").recover.mode == mode


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["actor.optimizr.lr=1"], ["actor.optimizr", "'actor.optimizer'"]),
        (["actor.optimizer.l_r=1"], ["actor.optimizer.l_r", "'actor.optimizer.lr'"]),
        (["actor.lr=1"], ["actor.lr:", "'actor.optimizer.lr'"]),
        (["batch_size=2"], ["batch_size:", "'train_dataset.batch_size'"]),
        (["zzz=1", "qqq.r=2"], ["zzz:", "qqq:"]),
        (["actor.optimizer.lr=abc"], ["actor.optimizer.lr: expected float", "'abc'"]),
        (["actor.mb_spec.n_mbs=x"], ["actor.mb_spec.n_mbs: expected int | None"]),
        (["actor.optimizer.type=adma"], ["actor.optimizer.type: expected one of adam, sgd, muon", "'adma'", "'adam'"]),
        (["actor.optimizer.type=adam_bf16"], ["actor.optimizer.type", "not in this release"]),
        (["actor.prox_logp_method=loglinear"], ["actor.prox_logp_method", "not in this release"]),
        (["scheduler.type=ray"], ["scheduler.type", "one machine"]),
        (["actor.mb_spec.n_mbs=0"], ["actor.mb_spec.n_mbs: expected a number >= 1, got 0"]),
        (["tokenizer_path=${nowhere}"], ["tokenizer_path", "nowhere"]),
        (["tokenizer_path=???"], ["tokenizer_path", "???"]),
        (["seed=1,2"], ["seed=1,2", "one value"]),
        (["--verbose"], ["--verbose", "key=value"]),
        (["noequals"], ["noequals", "key=value"]),
        (["~actor.eps_clip"], ["actor.eps_clip", "not in it"]),
        (["trial_name="], ["trial_name", "non-empty"]),
        (["trial_name=a/b"], ["trial_name", "a/b"]),
    ],
)
def test_wrong_override_error_names_key_and_cure(load, overrides, parts):
    with pytest.raises(ConfigError) as caught:
        load(*overrides)
    for part in parts:
        assert part in caught.value.args[0]


def test_unknown_keys_of_file_are_all_listed_at_once(load):
    with pytest.raises(ConfigError) as caught:
        load(text=BASE + "sed: 1\nsaver: {freq_step: 2}\n")
    message = caught.value.args[0]
    assert "sed: no such setting. Did you mean 'seed'?" in message
    assert "saver.freq_step: no such setting. Did you mean 'saver.freq_steps'?" in message


@pytest.mark.parametrize("argv", [[], ["a=b"], ["--config"], ["--config", "/no/such/file.yaml"]])
def test_missing_config_file_is_a_config_error(argv):
    with pytest.raises(ConfigError, match="--config"):
        load_expr_config(argv, GRPOConfig)


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", ": :\n"])
def test_unreadable_yaml_is_a_config_error(load, text):
    with pytest.raises(ConfigError, match="expected"):
        load(text=text)


def test_defaults_list_and_group_choice_are_composed(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "native").mkdir()
    (tmp_path / "native" / "small.yaml").write_text("max_num_seqs: 2\n")
    (tmp_path / "native" / "large.yaml").write_text("max_num_seqs: 64\n")
    file = tmp_path / "top.yaml"
    file.write_text("defaults: [base, native: small, _self_]\nseed: 5\n")
    argv = ["--config", str(file), "native.seed=8"]
    small, _ = load_expr_config(argv, GRPOConfig)
    large, _ = load_expr_config([*argv, "native=large"], GRPOConfig)
    assert (small.experiment_name, small.seed, small.native.max_num_seqs, small.native.seed) == ("exp", 5, 2, 8)
    assert (large.native.max_num_seqs, large.native.seed) == (64, 8)


def test_loading_leaves_the_hydra_of_the_host_application_alone(tmp_path):
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "top.yaml").write_text("defaults: [base]\n")
    with initialize_config_dir(config_dir=str(tmp_path), version_base="1.3"):
        host = GlobalHydra.instance().hydra
        load_expr_config(["--config", str(tmp_path / "top.yaml")], GRPOConfig)
        assert GlobalHydra.instance().hydra is host


def test_missing_default_file_is_a_config_error(tmp_path):
    (tmp_path / "top.yaml").write_text("defaults: [nowhere]\n")
    with pytest.raises(ConfigError, match="nowhere"):
        load_expr_config(["--config", str(tmp_path / "top.yaml")], GRPOConfig)


@dataclasses.dataclass
class Judge:
    url: str = ""
    weights: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class MyConfig(GRPOConfig):
    judge: Judge = dataclasses.field(default_factory=Judge)
    reward_fn_path: str = "mine"
    judges: list[Judge] = dataclasses.field(default_factory=list)
    by_task: dict[str, Judge] = dataclasses.field(default_factory=dict)


def test_users_own_subclass_loads_with_its_sections(load):
    config = load("judge.weights=[1,2.5]", "reward_fn_path=other", cls=MyConfig)
    assert config.judge == Judge(weights=[1.0, 2.5])
    assert config.reward_fn_path == "other"
    config = load("judges=[{url: a}]", "by_task.math.url=b", cls=MyConfig)
    assert (config.judges, config.by_task) == ([Judge("a")], {"math": Judge("b")})
    with pytest.raises(ConfigError, match=r"judge\.ulr.*'judge\.url'"):
        load("judge.ulr=x", cls=MyConfig)


def test_sft_config_loads(load):
    text = "experiment_name: a\ntrial_name: b\nactor: {path: m, optimizer: {lr: 0.1}}\ntrain_dataset: {batch_size: 2}\n"
    config = load(text=text, cls=SFTConfig)
    assert (config.actor.backend, config.train_dataset.type, config.tokenizer_path) == ("fsdp:d1", "sft", "m")


def test_parse_cli_args_and_to_structured_cfg_give_typed_values_without_objects(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(BASE)
    cfg, path = parse_cli_args(["--config", str(file), "seed=9", "--dry-run"])
    structured = to_structured_cfg(cfg, GRPOConfig)
    assert path == file.resolve()
    assert structured.seed == 9
    assert structured.actor.optimizer.beta1 == 0.9
    assert structured.rollout.consumer_batch_size is None  # nothing is derived yet


def test_is_dry_run_reads_the_flag_wherever_it_stands():
    assert is_dry_run(["--config", "x", "--dry-run", "a=b"])
    assert not is_dry_run(["--config", "x", "a=--dry-run2"])


def test_dry_run_prints_the_plan_and_ends_the_process(tmp_path, capsys):
    file = tmp_path / "c.yaml"
    file.write_text("experiment_name: e\ntrial_name: t\nactor: {path: m}\n")
    with pytest.raises(SystemExit) as ended:
        load_expr_config(["--config", str(file), "--dry-run"], SFTConfig)
    assert ended.value.code == 0
    assert "# Processes" in capsys.readouterr().out
