# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a user may name: types, config files and folders; what is said about files that are no config HF reads."""

import json

import pytest
from transformers import AutoConfig

from areal.experimental.models.archon.scaffold.acceptance import check
from areal.experimental.models.archon.scaffold.findings import Refused, Unexplained
from areal.experimental.models.archon.scaffold.request import read_request
from areal.harness.core.errors import UsageProblem


def request_of(tmp_path, **fields):
    (tmp_path / "config.json").write_text(json.dumps(fields))
    return read_request(str(tmp_path))


def test_model_is_named_by_type_config_or_folder(tmp_path):
    assert read_request("olmoe").model_type == "olmoe" and read_request("olmoe").config is None
    by_folder = request_of(tmp_path, model_type="cohere2", logit_scale=0.5)
    by_file = read_request(str(tmp_path / "config.json"))
    assert by_folder.model_type == by_file.model_type == "cohere2"
    assert by_folder.config.logit_scale == by_file.config.logit_scale == 0.5
    assert by_folder.folder == tmp_path and by_file.folder is None


def test_floats_that_json_lacks_are_read_as_save_pretrained_writes_them(tmp_path):
    AutoConfig.for_model("granitemoehybrid").save_pretrained(tmp_path)
    assert "__float__" in (tmp_path / "config.json").read_text()
    assert read_request(str(tmp_path)).config.time_step_limit[1] == float("inf")


def test_float_that_is_no_text_is_wrong_usage(tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"model_type": "granite", "eps": {"__float__": null}}')
    with pytest.raises(UsageProblem, match="expected a string in '__float__'"):
        read_request(str(file))


def test_composite_config_stands_for_its_text_part_tied_as_the_whole(tmp_path):
    text = {"model_type": "gemma3_text", "hidden_size": 64}
    request = request_of(tmp_path, model_type="gemma3", text_config=text, tie_word_embeddings=False)
    assert request.model_type == "gemma3_text" and request.config.hidden_size == 64
    assert request.config.tie_word_embeddings is False and request.folder is None


@pytest.mark.parametrize("text", ["{nope", "[1]", '{"hidden_size": 3}', '{"model_type": ["a"]}', "\x00"])
def test_file_that_is_no_config_is_wrong_usage(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageProblem, match="config"):
        read_request(str(tmp_path))


@pytest.mark.parametrize("model", ["", "missing/config.json", "missing.json"])
def test_path_that_does_not_exist_is_wrong_usage(model):
    with pytest.raises(UsageProblem, match="folder with one"):
        read_request(model)


def test_config_with_code_of_its_own_is_refused_and_says_that_code_is_not_run(tmp_path):
    with pytest.raises(Refused, match=r"fancy_lm.*auto_map"):
        request_of(tmp_path, model_type="fancy_lm", auto_map={"AutoConfig": "config.Fancy"})


def test_field_of_the_wrong_type_is_refused_by_its_name(tmp_path):
    with pytest.raises(Refused, match="hidden_size"):
        request_of(tmp_path, model_type="stablelm", hidden_size="abc")


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"alibi": True}, "alibi"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantization_config"),
        ({"rope_scaling": {"rope_type": "magic", "factor": 4.0}}, "rope_type"),
        ({"hidden_size": 100, "num_attention_heads": 7}, "num_heads"),
    ],
)
def test_config_that_no_family_could_run_is_refused_before_anything_is_measured(tmp_path, fields, word):
    with pytest.raises(Unexplained, match=word):
        check(request_of(tmp_path, model_type="stablelm", **fields).config)


def test_usual_config_passes_the_first_check(tmp_path):
    check(request_of(tmp_path, model_type="stablelm", attention_dropout=0.1, tie_word_embeddings=True).config)


@pytest.mark.parametrize(
    ("model_type", "hint"),
    [
        ("stable_lm", r"did you mean stablelm"),
        ("zqxj", r"transformers [\d.]+\S* has no .*; a newer release may have it"),
    ],
)
def test_type_that_transformers_lacks_is_refused_with_the_nearest_ones(tmp_path, model_type, hint):
    with pytest.raises(Refused, match=hint):
        read_request(model_type)
    with pytest.raises(Refused, match=hint):
        request_of(tmp_path, model_type=model_type)
