# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from areal.api.cli_args import OptimizerConfig
from areal.engine.fsdp_engine import FSDPEngine
from areal.utils.errors import ConfigError
from tests.engine.tiny import (
    FT_SPEC,
    SEQ_LENS,
    SGD,
    make_batch,
    make_engine,
    micro_batches,
    num_trained_tokens,
    reference_loss,
    rows_of,
    save_tiny_model,
    tiny_config,
    weighted_loss,
)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def gradients_by_sgd(engine: FSDPEngine, batch: Any) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Result of one step and the gradient of each parameter, by HF name."""
    before = dict(engine.state_iter())
    result = engine.train_batch(batch, weighted_loss, num_trained_tokens)
    return result, {name: before[name] - tensor for name, tensor in engine.state_iter()}


def assert_same_gradients(got: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-6) -> None:
    assert got.keys() == expected.keys()
    scale = max(float(grad.abs().max()) for grad in expected.values())
    for name, grad in expected.items():
        torch.testing.assert_close(got[name], grad, rtol=0.0, atol=tolerance * scale, msg=name)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("attn_impl", ["auto", "sdpa", "eager"])
def test_train_batch_packed_matches_padded_hf(tmp_path: Path, tied: bool, attn_impl: str):
    path = save_tiny_model(tmp_path / "model", tie_word_embeddings=tied)
    batch = make_batch(SEQ_LENS)
    expected_loss, expected = reference_loss(path, batch, temperature=0.8)
    engine = make_engine(tiny_config(path, optimizer=SGD, attn_impl=attn_impl, temperature=0.8))
    result, got = gradients_by_sgd(engine, batch)
    assert result["loss"] == pytest.approx(float(expected_loss), rel=1e-6)
    assert result["loss_weight"] == float(batch["loss_mask"].sum())
    assert result["grad_norm"] == pytest.approx(float(sum((g**2).sum() for g in expected.values()) ** 0.5), rel=1e-5)
    assert_same_gradients(got, expected, 1e-5)


def test_forward_batch_packed_equals_each_sequence_alone(model_path: str):
    batch = make_batch(SEQ_LENS)
    engine = make_engine(tiny_config(model_path, mb_spec=micro_batches(2)))
    together = engine.forward_batch(batch)
    assert together.shape == batch["input_ids"].shape and together.dtype == torch.float32
    hf = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    for row, length in enumerate(SEQ_LENS):
        alone = engine.forward_batch(rows_of(batch, [row]))
        torch.testing.assert_close(together[row, :length], alone[0], rtol=0.0, atol=2e-6)
        assert together[row, length - 1 :].eq(0).all()
        ids = batch["input_ids"][row : row + 1, :length].long()
        expected = hf(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None]).squeeze(1)
        torch.testing.assert_close(together[row, : length - 1], expected, rtol=0.0, atol=2e-6)


def test_forward_batch_list_gives_each_trajectory_its_own_width(model_path: str):
    batch = make_batch(SEQ_LENS)
    engine = make_engine(tiny_config(model_path))
    outputs = engine.forward_batch([rows_of(batch, [0, 1]), rows_of(batch, [2])])
    whole = engine.forward_batch(batch)
    assert [tuple(out.shape) for out in outputs] == [(2, 20), (1, 5)]
    torch.testing.assert_close(outputs[0], whole[:2, :20], rtol=0.0, atol=2e-6)


@pytest.mark.parametrize("mb_spec", [micro_batches(3), micro_batches(8), micro_batches(1, max_tokens=40)])
def test_train_batch_micro_batch_split_changes_neither_loss_nor_gradients(model_path: str, mb_spec: Any):
    batch = make_batch(SEQ_LENS)
    whole = gradients_by_sgd(make_engine(tiny_config(model_path, optimizer=SGD)), batch)
    split = gradients_by_sgd(make_engine(tiny_config(model_path, optimizer=SGD, mb_spec=mb_spec)), batch)
    assert split[0]["num_micro_batches"] > 1
    assert split[0]["loss"] == pytest.approx(whole[0]["loss"], rel=1e-6)
    assert_same_gradients(split[1], whole[1])


def test_train_batch_sample_order_changes_neither_loss_nor_gradients(model_path: str):
    batch = make_batch(SEQ_LENS)
    order = [5, 2, 7, 0, 3, 6, 1, 4]
    config = tiny_config(model_path, optimizer=SGD, mb_spec=micro_batches(2))
    first = gradients_by_sgd(make_engine(config), batch)
    second = gradients_by_sgd(make_engine(config), rows_of(batch, order))
    assert second[0]["loss"] == pytest.approx(first[0]["loss"], rel=1e-6)
    assert_same_gradients(second[1], first[1])


def test_train_batch_gradient_checkpointing_changes_nothing(model_path: str):
    batch = make_batch(SEQ_LENS)
    plain = gradients_by_sgd(make_engine(tiny_config(model_path, optimizer=SGD)), batch)
    recomputed = gradients_by_sgd(
        make_engine(tiny_config(model_path, optimizer=SGD, gradient_checkpointing=True)), batch
    )
    assert_same_gradients(recomputed[1], plain[1])


def test_train_batch_micro_batch_without_trained_tokens_adds_nothing(model_path: str):
    batch = make_batch(SEQ_LENS)
    batch["loss_mask"][:4] = 0
    config = tiny_config(model_path, optimizer=SGD)
    masked = gradients_by_sgd(make_engine(tiny_config(model_path, optimizer=SGD, mb_spec=micro_batches(8))), batch)
    absent = gradients_by_sgd(make_engine(config), rows_of(batch, [4, 5, 6, 7]))
    assert masked[0]["loss"] == pytest.approx(absent[0]["loss"], rel=1e-6)
    assert_same_gradients(masked[1], absent[1])


def test_train_batch_no_trained_token_at_all_raises(model_path: str):
    batch = make_batch(SEQ_LENS)
    batch["loss_mask"].zero_()
    with pytest.raises(ValueError, match=r"positive loss weight.*got 0\.0.*check loss_mask"):
        make_engine(tiny_config(model_path)).train_batch(batch, weighted_loss, num_trained_tokens)


def test_train_batch_non_finite_gradient_skips_the_update_counts_it_and_names_parameters(
    model_path: str, caplog: pytest.LogCaptureFixture
):
    batch = make_batch(SEQ_LENS)
    engine = make_engine(tiny_config(model_path))
    before = dict(engine.state_iter())

    def broken_loss(logprobs: Tensor, entropy: Tensor, mb: dict[str, Any]) -> Tensor:
        return weighted_loss(logprobs, entropy, mb) * float("nan")

    with caplog.at_level("WARNING"):
        result = engine.train_batch(batch, broken_loss, num_trained_tokens)
    assert "layers.0.mlp" in caplog.text and " not finite, norm of the rest 0" in caplog.text
    assert (result["update_successful"], result["num_skipped_updates"]) == (0.0, 1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in engine.state_iter())
    result = engine.train_batch(batch, weighted_loss, num_trained_tokens)
    assert (result["update_successful"], result["num_skipped_updates"]) == (1.0, 1.0)


def test_train_batch_learns_the_batch_by_heart(model_path: str):
    batch = make_batch(SEQ_LENS)
    engine = make_engine(tiny_config(model_path, optimizer=OptimizerConfig(lr=1e-2, warmup_steps=0)))
    losses = [engine.train_batch(batch, weighted_loss, num_trained_tokens)["loss"] for _ in range(15)]
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("kind", ["adam", "sgd", "muon"])
def test_train_batch_each_optimizer_lowers_the_loss(model_path: str, kind: str):
    batch = make_batch(SEQ_LENS)
    engine = make_engine(tiny_config(model_path, optimizer=OptimizerConfig(type=kind, lr=3e-3, warmup_steps=0)))
    losses = [engine.train_batch(batch, weighted_loss, num_trained_tokens)["loss"] for _ in range(6)]
    assert losses[-1] < 0.99 * losses[0]


def test_eval_batch_equals_the_loss_of_train_batch_and_keeps_the_mode(tmp_path: Path):
    path = save_tiny_model(tmp_path / "model", dropout=0.3)
    batch = make_batch(SEQ_LENS)
    engine = make_engine(tiny_config(path, mb_spec=micro_batches(2)))
    expected, _ = reference_loss(path, batch)
    evaluated = engine.eval_batch(batch, weighted_loss, num_trained_tokens)
    assert float(evaluated) == pytest.approx(float(expected), rel=1e-6)
    with_dropout = engine.train_batch(batch, weighted_loss, num_trained_tokens)["loss"]
    assert abs(with_dropout - float(expected)) > 1e-3


def test_disable_dropout_makes_training_deterministic(tmp_path: Path):
    path = save_tiny_model(tmp_path / "model", dropout=0.3)
    batch = make_batch(SEQ_LENS)
    engine = make_engine(tiny_config(path, disable_dropout=True))
    expected, _ = reference_loss(path, batch)
    result = engine.train_batch(batch, weighted_loss, num_trained_tokens)
    assert result["loss"] == pytest.approx(float(expected), rel=1e-6)


def test_train_batch_bfloat16_stays_near_float32_and_keeps_float32_masters(model_path: str):
    batch = make_batch(SEQ_LENS)
    exact = gradients_by_sgd(make_engine(tiny_config(model_path, optimizer=SGD)), batch)
    engine = make_engine(tiny_config(model_path, optimizer=SGD, dtype="bfloat16"))
    try:
        result = engine.train_batch(batch, weighted_loss, num_trained_tokens)
        assert result["loss"] == pytest.approx(exact[0]["loss"], rel=5e-3)
        assert result["grad_norm"] == pytest.approx(exact[0]["grad_norm"], rel=2e-2)
        assert {tensor.dtype for _, tensor in engine.state_iter()} == {torch.bfloat16}
        stored = {param.dtype for param in engine._ready.model.module.parameters()}
        assert stored == {torch.float32}
    finally:
        engine.destroy()


def test_engine_used_before_initialize_or_after_destroy_says_so(model_path: str):
    engine = FSDPEngine(tiny_config(model_path))
    with pytest.raises(RuntimeError, match="create_process_group"):
        engine.initialize(None, FT_SPEC)
    engine.create_process_group()
    with pytest.raises(RuntimeError, match="initialize"):
        engine.train()
    engine.initialize(None, FT_SPEC)
    engine.destroy()
    engine.destroy()
    with pytest.raises(RuntimeError, match="destroyed"):
        engine.forward_batch(make_batch([3]))


def test_engine_without_optimizer_only_runs_forward(model_path: str):
    engine = make_engine(tiny_config(model_path, optimizer=None))
    assert engine.forward_batch(make_batch([4, 3])).shape == (2, 4)
    with pytest.raises(RuntimeError, match="engine with an optimizer"):
        engine.train_batch(make_batch([4]), weighted_loss, num_trained_tokens)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attn_impl": "flash_attention_2"}, "CUDA device with the package of attn_impl=flash_attention_2"),
        ({"attn_impl": "flex_attention"}, "CUDA device for attn_impl=flex_attention"),
        ({"dtype": "float16"}, "bfloat16 or float32 for training, got float16"),
        ({"path": "/nowhere/at/all"}, "HF model .* at '/nowhere/at/all'"),
    ],
)
def test_initialize_unmet_need_raises_with_the_fix(model_path: str, changes: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        make_engine(tiny_config(**{"path": model_path, **changes}))
