# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from areal.api.cli_args import OptimizerConfig
from areal.api.io_struct import SaveLoadMeta
from areal.engine.core import saving
from areal.engine.core.topology import Topology
from areal.engine.fsdp_engine import FSDPEngine
from areal.utils.errors import CheckpointError, ConfigError
from areal.utils.hf_utils import load_hf_tokenizer
from tests.distributed import run_ranks
from tests.engine.tiny import (
    SEQ_LENS,
    make_batch,
    make_engine,
    num_trained_tokens,
    rows_of,
    save_tiny_model,
    tiny_config,
    weighted_loss,
)

ALONE = Topology(torch.device("cpu"), 0, 1, owns_default_group=False)
ROWS = {1: [list(range(8))], 2: [[0, 1, 2, 3], [4, 5, 6, 7]], 4: [[0, 1], [2, 3], [4, 5], [6, 7]]}


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def hf_meta(path: Path, **changes: Any) -> SaveLoadMeta:
    return SaveLoadMeta(path=str(path), weight_format="hf", **changes)


def dcp_meta(path: Path) -> SaveLoadMeta:
    return SaveLoadMeta(path=str(path), weight_format="dcp", with_optim=True)


def train(engine: FSDPEngine, num_steps: int, rows: list[int] | None = None) -> list[dict[str, float]]:
    """Steps on other data each, with the LR schedule advancing; data depend on the step of the schedule alone."""
    results = []
    for _ in range(num_steps):
        step = engine._ready.trainable.schedule.current_step
        batch = rows_of(make_batch(SEQ_LENS, seed=step), rows or list(range(len(SEQ_LENS))))
        results.append(engine.train_batch(batch, weighted_loss, num_trained_tokens))
        engine.step_lr_scheduler()
    return results


def make_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """A tokenizer that splits text into single characters, as no HF model family does."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    vocab = {chr(code): code - 30 for code in range(32, 90)} | {"<unk>": 0, "\n": 1}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<unk>")


@pytest.mark.parametrize("tied", [True, False])
def test_save_hf_from_pretrained_reads_it_bit_for_bit(tmp_path: Path, tied: bool):
    engine = make_engine(tiny_config(save_tiny_model(tmp_path / "model", tie_word_embeddings=tied)))
    train(engine, 1)
    engine.save(hf_meta(tmp_path / "saved"))
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype="auto", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    own = {name.removeprefix("hf."): param for name, param in engine._ready.model.module.named_parameters()}
    assert own.keys() == dict(model.named_parameters()).keys()
    assert all(torch.equal(param, own[name]) for name, param in model.named_parameters())
    assert ("lm_head.weight" in dict(engine.state_iter())) == (not tied)


def test_load_hf_puts_back_the_saved_weights(tmp_path: Path, model_path: str):
    engine = make_engine(tiny_config(model_path))
    engine.save(hf_meta(tmp_path / "saved"))
    before = engine.forward_batch(make_batch(SEQ_LENS))
    train(engine, 2)
    assert not torch.equal(engine.forward_batch(make_batch(SEQ_LENS)), before)
    engine.load(hf_meta(tmp_path / "saved"))
    assert torch.equal(engine.forward_batch(make_batch(SEQ_LENS)), before)


def test_load_hf_missing_weight_raises_and_names_it(tmp_path: Path, model_path: str):
    from safetensors.torch import load_file, save_file

    engine = make_engine(tiny_config(model_path))
    engine.save(hf_meta(tmp_path / "saved"))
    weights = load_file(tmp_path / "saved" / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "saved" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight"):
        engine.load(hf_meta(tmp_path / "saved"))


def test_save_hf_with_optimizer_is_refused_with_the_alternative(tmp_path: Path, model_path: str):
    with pytest.raises(ConfigError, match="weight_format=dcp"):
        make_engine(tiny_config(model_path)).save(hf_meta(tmp_path / "saved", with_optim=True))


def test_save_hf_tokenizer_splits_text_as_before(tmp_path: Path, model_path: str):
    tokenizer = make_tokenizer(tmp_path)
    make_engine(tiny_config(model_path)).save(hf_meta(tmp_path / "saved", tokenizer=tokenizer))
    text = "TOM HAS 12 APPLES."
    assert load_hf_tokenizer(tmp_path / "saved")(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_save_tokenizer_that_reads_back_differently_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tokenizer = make_tokenizer(tmp_path)
    other = make_tokenizer(tmp_path)
    other.backend_tokenizer.add_tokens(["12"])
    monkeypatch.setattr(saving, "load_hf_tokenizer", lambda path: other)
    with pytest.raises(CheckpointError, match=r"splits .* differently"):
        saving.save_tokenizer(tokenizer, tmp_path / "saved")


def test_load_dcp_resumed_run_equals_the_uninterrupted_one(tmp_path: Path):
    # Dropout draws from the random state, the cosine schedule needs its step, Adam its moments.
    config = tiny_config(save_tiny_model(tmp_path / "model", dropout=0.2))
    torch.manual_seed(7)
    engine = make_engine(config)
    train(engine, 2)
    engine.set_version(2)
    engine.save(dcp_meta(tmp_path / "saved"))
    expected = train(engine, 3)
    torch.manual_seed(99)
    resumed = make_engine(config)
    resumed.load(dcp_meta(tmp_path / "saved"))
    assert resumed.get_version() == 2
    assert train(resumed, 3) == expected
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(engine.state_iter(), resumed.state_iter()))


def test_save_dcp_before_the_first_step_changes_nothing(tmp_path: Path, model_path: str):
    expected = train(make_engine(tiny_config(model_path)), 2)
    engine = make_engine(tiny_config(model_path))
    engine.save(dcp_meta(tmp_path / "saved"))
    assert train(engine, 2) == expected
    resumed = make_engine(tiny_config(model_path))
    resumed.load(dcp_meta(tmp_path / "saved"))
    assert train(resumed, 2) == expected


def test_load_dcp_takes_hyper_parameters_from_the_configuration(tmp_path: Path, model_path: str):
    engine = make_engine(tiny_config(model_path))
    train(engine, 3)
    engine.save(dcp_meta(tmp_path / "saved"))
    changed = dataclasses.replace(engine.config.optimizer, lr=5e-3, weight_decay=0.5)
    resumed = make_engine(tiny_config(model_path, optimizer=changed))
    resumed.load(dcp_meta(tmp_path / "saved"))
    group = resumed._ready.trainable.optimizers[0].param_groups[0]
    assert group["weight_decay"] == 0.5
    assert train(resumed, 1)[0]["lr"] == pytest.approx(0.5 * train(engine, 1)[0]["lr"])


@pytest.mark.parametrize("kind", ["sgd", "muon"])
def test_load_dcp_every_optimizer_continues_exactly(tmp_path: Path, model_path: str, kind: str):
    config = tiny_config(model_path, optimizer=OptimizerConfig(type=kind, lr=3e-3, warmup_steps=0))
    engine = make_engine(config)
    train(engine, 2)
    engine.save(dcp_meta(tmp_path / "saved"))
    resumed = make_engine(config)
    resumed.load(dcp_meta(tmp_path / "saved"))
    assert train(resumed, 2) == train(engine, 2)


def test_load_dcp_without_a_checkpoint_raises_with_the_path(tmp_path: Path, model_path: str):
    with pytest.raises(CheckpointError, match=r"sharded checkpoint .*nothing-here"):
        make_engine(tiny_config(model_path)).load(dcp_meta(tmp_path / "nothing-here"))


def test_load_dcp_saved_without_optimizer_says_so(tmp_path: Path, model_path: str):
    engine = make_engine(tiny_config(model_path))
    engine.save(dataclasses.replace(dcp_meta(tmp_path / "saved"), with_optim=False))
    with pytest.raises(CheckpointError, match="saved without the optimizer"):
        engine.load(dcp_meta(tmp_path / "saved"))


def _save_after_two_steps(rank: int, world_size: int, config: Any, path: Path) -> list[dict[str, float]]:
    engine = make_engine(config)
    train(engine, 2, ROWS[world_size][rank])
    engine.save(dcp_meta(path))
    engine.save(hf_meta(path.with_name("hf")))
    return train(engine, 2, ROWS[world_size][rank])


def _load_and_continue(rank: int, world_size: int, config: Any, path: Path) -> list[dict[str, float]]:
    engine = make_engine(config)
    engine.load(dcp_meta(path))
    return train(engine, 2, ROWS[world_size][rank])


def test_load_dcp_saved_on_two_ranks_continues_on_one_two_and_four(tmp_path: Path, model_path: str):
    config = tiny_config(model_path)
    expected = run_ranks(_save_after_two_steps, 2, config, tmp_path / "saved")[0]
    runs = {1: [_load_and_continue(0, 1, config, tmp_path / "saved")]}
    runs |= {size: run_ranks(_load_and_continue, size, config, tmp_path / "saved") for size in (2, 4)}
    assert runs[2][0] == expected
    for results in runs.values():
        for got, wanted in zip(results[0], expected, strict=True):
            assert got["loss"] == pytest.approx(wanted["loss"], rel=2e-6)
            assert got["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=2e-5)
            assert got["lr"] == wanted["lr"]
    restored = make_engine(tiny_config(str(tmp_path / "hf")))
    restored._ready.trainable.schedule.set_step(2)
    assert train(restored, 1)[0]["loss"] == pytest.approx(expected[0]["loss"], rel=2e-6)


def _full_disk(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("meta_of", [hf_meta, dcp_meta])
def test_save_disk_full_keeps_the_last_checkpoint_and_says_so(
    tmp_path: Path, model_path: str, monkeypatch: pytest.MonkeyPatch, meta_of: Any
):
    engine = make_engine(tiny_config(model_path))
    engine.save(meta_of(tmp_path / "saved"))
    files = {file.name: file.read_bytes() for file in (tmp_path / "saved").iterdir()}
    train(engine, 1)
    monkeypatch.setattr("safetensors.torch.save_file", _full_disk)
    monkeypatch.setattr("torch.distributed.checkpoint.filesystem._write_files_from_queue", _full_disk)
    with pytest.raises(CheckpointError, match=r"disk .* full(.|\n)*What was saved before is intact"):
        engine.save(meta_of(tmp_path / "saved"))
    assert {file.name: file.read_bytes() for file in (tmp_path / "saved").iterdir()} == files
    assert [entry.name for entry in tmp_path.iterdir()] == ["saved"]
    monkeypatch.undo()
    engine.load(meta_of(tmp_path / "saved"))


def _save_where_rank_zero_cannot_write(rank: int, world_size: int, config: Any, path: Path) -> str:
    engine = make_engine(config)
    engine.save(hf_meta(path))
    if rank == 0:
        import safetensors.torch

        safetensors.torch.save_file = _full_disk
    with pytest.raises(CheckpointError) as caught:
        engine.save(hf_meta(path))
    train(engine, 1, ROWS[2][rank])  # no rank is stuck in, or ahead by, a collective
    return str(caught.value)


def test_save_disk_full_on_one_rank_raises_on_all(tmp_path: Path, model_path: str):
    messages = run_ranks(_save_where_rank_zero_cannot_write, 2, tiny_config(model_path), tmp_path / "saved")
    assert all("is full" in message or "No space left" in message for message in messages), messages
    assert (tmp_path / "saved" / "model.safetensors").is_file()


def _load_what_is_not_there(rank: int, world_size: int, config: Any, path: Path) -> str:
    engine = make_engine(config)
    with pytest.raises((CheckpointError, OSError)) as caught:
        engine.load(hf_meta(path))
    return str(caught.value)


def test_load_hf_failure_on_rank_zero_raises_on_all(tmp_path: Path, model_path: str):
    messages = run_ranks(_load_what_is_not_there, 2, tiny_config(model_path), tmp_path / "absent", timeout_s=40)
    assert all("absent" in message for message in messages)


def test_write_together_any_failure_is_a_checkpoint_error(tmp_path: Path):
    def write(folder: Path) -> None:
        folder.mkdir()
        raise RuntimeError("the writer broke")

    with pytest.raises(CheckpointError, match=r"the writer broke.*saved before is intact"):
        saving.write_together(tmp_path / "saved", ALONE, write)
    assert list(tmp_path.iterdir()) == []


def _stop_iterating_early(rank: int, world_size: int, config: Any) -> dict[str, Tensor]:
    engine = make_engine(config)
    items = engine.state_iter()
    if rank == 0:
        next(items)
        items.close()
    else:
        list(items)
    return dict(engine.state_iter())


def test_state_iter_left_early_on_one_rank_keeps_ranks_in_step(model_path: str):
    first, second = run_ranks(_stop_iterating_early, 2, tiny_config(model_path))
    expected = dict(make_engine(tiny_config(model_path)).state_iter())
    assert first.keys() == second.keys() == expected.keys()
    assert all(torch.equal(first[name], expected[name]) for name in expected)
