# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest

from areal.experimental.models.archon import model_spec
from areal.experimental.models.archon.base import BaseModelArgs, UnsupportedConfig
from areal.experimental.models.archon.families import FAMILIES
from areal.experimental.models.archon.model_spec import get_model_spec, register_model_spec


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_every_family_has_a_spec_in_its_package(model_type):
    spec = get_model_spec(model_type)
    assert model_type in spec.supported_model_types
    assert FAMILIES[model_type].split(".")[-2] == spec.name
    assert issubclass(spec.model_args_class, BaseModelArgs)
    assert all(FAMILIES[served] == FAMILIES[model_type] for served in spec.supported_model_types)


def test_families_are_sorted():
    assert list(FAMILIES) == sorted(FAMILIES)


def test_unknown_model_type_lists_the_known_ones():
    with pytest.raises(UnsupportedConfig, match=", ".join(FAMILIES)):
        get_model_spec("bert")


def test_registered_spec_of_another_package_is_found(monkeypatch):
    monkeypatch.setattr(model_spec, "_registered", {})
    spec = dataclasses.replace(get_model_spec("llama"), name="mine", supported_model_types=frozenset({"my_llama"}))
    assert register_model_spec(spec) is spec
    assert get_model_spec("my_llama") is spec
    assert model_spec.is_supported_model("my_llama")


def test_model_type_that_has_a_family_is_not_registered_again():
    with pytest.raises(ValueError, match="'llama'"):
        register_model_spec(get_model_spec("llama"))
