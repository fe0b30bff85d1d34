# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from areal.dataset.arithmetic import make_problems
from areal.dataset.items import prompt_ids
from areal.dataset.small_tokenizer import build_arithmetic_tokenizer
from areal.utils.hf_utils import apply_chat_template, load_hf_tokenizer

PROMPTS = [text for p in make_problems("test", "rl", 250) for text in (p.question, p.worked_answer)]


def _ids(tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    return [tokenizer(text)["input_ids"] for text in PROMPTS]


def test_special_tokens_and_size(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer) <= 512
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 2)
    assert tokenizer.eos_token == "<|im_end|>"


@pytest.mark.parametrize("model_type", [None, "qwen2", "qwen3", "llama"])
def test_reloaded_by_auto_and_by_fast_class_gives_the_same_ids(tmp_path: Path, model_type: str | None) -> None:
    saved = build_arithmetic_tokenizer(tmp_path)
    if model_type:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    expected = [Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids for text in PROMPTS]
    assert _ids(saved) == expected
    assert _ids(AutoTokenizer.from_pretrained(tmp_path)) == expected
    assert _ids(PreTrainedTokenizerFast.from_pretrained(tmp_path)) == expected
    assert _ids(load_hf_tokenizer(tmp_path)) == expected


def test_foreign_pipeline_in_a_qwen2_directory_is_loaded_exactly_and_logs_the_fallback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    byte_level = Tokenizer(models.BPE())
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    byte_level.train_from_iterator(PROMPTS, trainer)
    saved = PreTrainedTokenizerFast(tokenizer_object=byte_level, eos_token="<|endoftext|>")
    saved.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    assert _ids(AutoTokenizer.from_pretrained(tmp_path)) != _ids(saved)  # the trap; when this fails, it is gone
    monkeypatch.setattr(logging.getLogger("areal"), "propagate", True)
    tokenizer = load_hf_tokenizer(tmp_path)
    assert _ids(tokenizer) == _ids(saved)
    assert "AutoTokenizer built Qwen2Tokenizer" in caplog.text


def test_text_survives_the_round_trip_and_digits_are_single_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    for text in [*PROMPTS, "  two  spaces\n", "naïve 東京 🙂", "1234567890"]:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
    assert len(tokenizer("1234567890")["input_ids"]) == 10
    assert all(
        sum(char.isdigit() for char in piece) <= 1 and (len(piece) == 1 or not any(map(str.isdigit, piece)))
        for piece in tokenizer.get_vocab()
    )


def test_build_twice_gives_the_same_files(tmp_path: Path) -> None:
    build_arithmetic_tokenizer(tmp_path / "a")
    build_arithmetic_tokenizer(tmp_path / "b")
    assert (tmp_path / "a/tokenizer.json").read_text() == (tmp_path / "b/tokenizer.json").read_text()


def test_prompts_and_answers_are_short(tokenizer: PreTrainedTokenizerFast) -> None:
    problems = make_problems("test", "rl", 300)
    prompts = [len(prompt_ids(tokenizer, p.question)) for p in problems]
    answers = [len(tokenizer(p.worked_answer)["input_ids"]) + 1 for p in problems]
    assert sum(prompts) / len(prompts) < 45
    assert sum(answers) / len(answers) < 26
    assert max(answers) <= 48  # the recipe's max_new_tokens


def test_apply_chat_template_gives_ids_of_chatml(tokenizer: PreTrainedTokenizerFast) -> None:
    messages = [{"role": "system", "content": "Add."}, {"role": "user", "content": "1+1"}]
    ids = apply_chat_template(tokenizer, messages, add_generation_prompt=True)
    text = "<|im_start|>system\nAdd.<|im_end|>\n<|im_start|>user\n1+1<|im_end|>\n<|im_start|>assistant\n"
    assert type(ids) is list
    assert ids == tokenizer(text)["input_ids"]
    assert apply_chat_template(tokenizer, messages, tokenize=False, add_generation_prompt=True) == text
