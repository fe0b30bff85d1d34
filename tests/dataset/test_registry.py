# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from areal.api.cli_args import TrainDatasetConfig
from areal.dataset import VALID_DATASETS, get_custom_dataset
from areal.dataset.gsm8k import INSTRUCTION
from areal.dataset.items import prompt_ids
from areal.dataset.local_files import read_jsonl
from areal.utils.errors import ConfigError

RECORDS = [{"question": f"What is {i} + {i}?", "answer": f"{i}+{i}={2 * i}\n#### {2 * i}"} for i in range(4)]


def write(folder: Path, records: list[dict], name: str = "train.jsonl") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    file = folder / name
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def test_valid_datasets_names() -> None:
    assert {"gsm8k", "arithmetic"} <= set(VALID_DATASETS)


def test_gsm8k_rl_folder_gives_messages_and_answer(tmp_path: Path) -> None:
    write(tmp_path, RECORDS)
    dataset = get_custom_dataset("train", TrainDatasetConfig(path=str(tmp_path), type="rl"))
    assert dataset.column_names == ["messages", "answer"]
    assert dataset[1] == {
        "messages": [{"role": "user", "content": f"What is 1 + 1?\n{INSTRUCTION}"}],
        "answer": "1+1=2\n#### 2",
    }


@pytest.mark.parametrize("template", [True, False])
def test_gsm8k_sft_boundary_between_prompt_and_answer_is_exact(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, plain_tokenizer: PreTrainedTokenizerFast, template: bool
) -> None:
    tokenizer = tokenizer if template else plain_tokenizer
    file = write(tmp_path, RECORDS, "any name.jsonl")
    dataset = get_custom_dataset("train", tokenizer=tokenizer, path=str(file), type="sft")
    for item, record in zip(dataset, RECORDS, strict=True):
        split = item["loss_mask"].index(1)
        assert item["loss_mask"] == [0] * split + [1] * (len(item["input_ids"]) - split)
        assert item["input_ids"][:split] == prompt_ids(tokenizer, record["question"])
        assert item["input_ids"][-1] == tokenizer.eos_token_id
        assert tokenizer.decode(item["input_ids"][split:-1]) == record["answer"]
        if template:
            assert tokenizer.decode(item["input_ids"][:split]).endswith("<|im_start|>assistant\n")


def test_max_length_counts_templated_tokens_and_logs_what_it_drops(
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerFast,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("areal"), "propagate", True)
    write(tmp_path, [*RECORDS, {"question": "What? " * 30, "answer": "#### 1"}])
    bare = len(tokenizer(f"{RECORDS[0]['question']}\n{INSTRUCTION}")["input_ids"])
    templated = len(prompt_ids(tokenizer, f"{RECORDS[0]['question']}\n{INSTRUCTION}"))
    assert bare < templated
    options = {"path": str(tmp_path), "type": "rl", "tokenizer": tokenizer}
    assert len(get_custom_dataset("train", max_length=templated, **options)) == 4
    assert "dropped 1 of 5 items longer than max_length" in caplog.text
    with pytest.raises(ConfigError, match=rf"all 5 items are longer than max_length={templated - 1} .*shortest"):
        get_custom_dataset("train", max_length=templated - 1, **options)


def test_max_length_without_tokenizer_raises(tmp_path: Path) -> None:
    write(tmp_path, RECORDS)
    with pytest.raises(ConfigError, match="needs a tokenizer to apply max_length"):
        get_custom_dataset("train", path=str(tmp_path), type="rl", max_length=10)


def test_sft_without_tokenizer_raises(tmp_path: Path) -> None:
    write(tmp_path, RECORDS)
    with pytest.raises(ConfigError, match="needs a tokenizer with an eos token"):
        get_custom_dataset("train", path=str(tmp_path), type="sft")


def test_folder_named_like_another_dataset_is_recognised_by_its_columns(tmp_path: Path) -> None:
    write(tmp_path / "arithmetic", RECORDS)
    assert len(get_custom_dataset("train", path=str(tmp_path / "arithmetic"), type="rl")) == 4


def test_split_argument_wins_over_config_split(tmp_path: Path) -> None:
    write(tmp_path, RECORDS)
    write(tmp_path, RECORDS[:1], "test.jsonl")
    config = TrainDatasetConfig(path=str(tmp_path), type="rl", split="train")
    assert len(get_custom_dataset("test", config)) == 1
    assert len(get_custom_dataset(None, config)) == 4


def test_saved_hf_dataset_is_used_as_it_is(tmp_path: Path) -> None:
    train = Dataset.from_list([{"messages": [{"role": "user", "content": "x"}], "score": 1}])
    train.save_to_disk(str(tmp_path / "one"))
    DatasetDict(train=train).save_to_disk(str(tmp_path / "many"))
    assert get_custom_dataset("train", path=str(tmp_path / "one"), type="rl")[0]["score"] == 1
    assert get_custom_dataset("train", path=str(tmp_path / "many"), type="rl")[0]["score"] == 1
    with pytest.raises(ConfigError, match=r"no split 'test'; it has \['train'\]"):
        get_custom_dataset("test", path=str(tmp_path / "many"), type="rl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": ""}, "dataset.path is empty"),
        ({"path": "my-gsm8k-copy"}, "neither a registered name .*gsm8k.* nor an existing file"),
        ({"path": "arithmetic", "type": "rw"}, r"items of type \['sft', 'rl'\], got type='rw'"),
        ({"path": "arithmetic", "sise": 3}, r"does not know \['sise'\]; dataset_kwargs may hold .*'size'"),
    ],
)
def test_get_custom_dataset_wrong_options_raise(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_custom_dataset("train", **({"type": "rl"} | options))


def test_local_data_missing_split_other_columns_or_empty_raise(tmp_path: Path) -> None:
    write(tmp_path, RECORDS)
    with pytest.raises(ConfigError, match=r"expected .*test.jsonl for split 'test'; .* has \['train.jsonl'\]"):
        get_custom_dataset("test", path=str(tmp_path), type="rl")
    write(tmp_path, [{"prompt": "x"}], "test.jsonl")
    with pytest.raises(ConfigError, match=r"has columns \['prompt'\]; expected"):
        get_custom_dataset("test", path=str(tmp_path), type="rl")
    (tmp_path / "test.jsonl").write_text("\n\n")
    with pytest.raises(ConfigError, match="is empty; expected one JSON object a line"):
        get_custom_dataset("test", path=str(tmp_path), type="rl")
    with pytest.raises(ConfigError, match=r"has no .jsonl files"):
        (tmp_path / "void").mkdir()
        get_custom_dataset("test", path=str(tmp_path / "void"), type="rl")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", r"train.jsonl:3: expected a JSON object in UTF-8, got b'\{broken"),
        ("[1]", "train.jsonl:3: expected a JSON object, got"),
        ('{"question": "x"}', r"train.jsonl:3: expected text in column 'answer', got only \['question'\]"),
        ('{"question": "x", "answer": 4}', "train.jsonl:3: expected text in column 'answer', got 4"),
    ],
)
def test_malformed_line_names_file_line_and_expectation(tmp_path: Path, line: str, message: str) -> None:
    file = write(tmp_path, RECORDS[:2])
    with file.open("a") as handle:
        handle.write(line + "\n" + json.dumps(RECORDS[3]) + "\n")
    with pytest.raises(ConfigError, match=message):
        get_custom_dataset("train", path=str(tmp_path), type="rl")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.binary(max_size=40), st.just(json.dumps(RECORDS[0]).encode())), max_size=5))
def test_read_jsonl_any_bytes_give_records_or_a_config_error(tmp_path: Path, lines: list[bytes]) -> None:
    file = tmp_path / "fuzz.jsonl"
    file.write_bytes(b"\n".join(lines))
    try:
        records = read_jsonl(file, ["question", "answer"])
    except ConfigError as error:
        assert str(file) in str(error)
        return
    # No line is dropped silently: every non-blank line is a record.
    assert len(records) == sum(bool(line.strip()) for line in file.read_bytes().split(b"\n")) > 0
    assert all(isinstance(record[key], str) for record in records for key in ("question", "answer"))


def test_gsm8k_files_load_in_both_forms(gsm8k_folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    rl = get_custom_dataset("test", path=str(gsm8k_folder), type="rl")
    sft = get_custom_dataset("test", tokenizer=tokenizer, path=str(gsm8k_folder), type="sft")
    assert len(rl) == len(sft) == 1319
    assert rl[0]["answer"].endswith("#### 18")


def test_gsm8k_size_takes_the_first_problems_and_must_be_positive(tmp_path: Path) -> None:
    write(tmp_path, RECORDS)
    config = TrainDatasetConfig(path=str(tmp_path), type="rl", dataset_kwargs={"size": 2})
    assert get_custom_dataset("train", config)["answer"] == [record["answer"] for record in RECORDS[:2]]
    assert len(get_custom_dataset("train", path=str(tmp_path), type="rl", size=99)) == 4
    with pytest.raises(ConfigError, match="size: expected at least 1 problem, got 0"):
        get_custom_dataset("train", path=str(tmp_path), type="rl", size=0)
