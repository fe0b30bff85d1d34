# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Every config field is documented, enforced and read by somebody."""

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from areal.api import cli_args
from areal.api.cli_args import GRPOConfig, SFTConfig, load_expr_config
from areal.api.config.schema import dotted_keys
from areal.utils.errors import ConfigError

REPO = Path(__file__).parents[2]
PACKAGE = REPO / "areal"

CLASSES = sorted(
    (cls for name, cls in vars(cli_args).items() if isinstance(cls, type) and dataclasses.is_dataclass(cls)),
    key=lambda cls: cls.__name__,
)
FIELDS = [
    pytest.param(cls, field, id=f"{cls.__name__}.{field.name}") for cls in CLASSES for field in dataclasses.fields(cls)
]


def reading_nodes() -> Iterator[ast.AST]:
    """All code of the package but the validation of configs: of those, only the plan and public methods count."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if PACKAGE / "api" / "config" not in path.parents or path.name == "plan.py":
            yield tree
        else:
            classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
            methods = [node for cls in classes for node in cls.body if isinstance(node, ast.FunctionDef)]
            yield from (method for method in methods if not method.name.startswith("_"))


def attribute_reads() -> set[str]:
    """Names read as an attribute by `reading_nodes`; of `self` in the methods of config classes only, whose `self` has them."""
    reads = set()
    for root in reading_nodes():
        reads |= {
            node.attr
            for node in ast.walk(root)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Load)
            and not (isinstance(root, ast.Module) and isinstance(node.value, ast.Name) and node.value.id == "self")
        }
    return reads


def test_every_field_is_read_by_the_package():
    reads = attribute_reads()
    dead = sorted(
        {key for root in (GRPOConfig, SFTConfig) for key, _, field in dotted_keys(root) if field not in reads}
    )
    assert not dead, f"no code in areal/ reads these settings; use or remove them: {', '.join(dead)}"


@pytest.mark.parametrize(("cls", "field"), FIELDS)
def test_every_field_has_one_sentence_of_help(cls, field):
    help_text = field.metadata["help"]
    assert help_text.endswith(".")
    assert help_text.count(". ") == 0
    assert len(help_text) >= 15


CHOICES = [param for param in FIELDS if param.values[1].metadata["choices"]]
BOUNDED = [param for param in FIELDS if any(v is not None for v in param.values[1].metadata["bounds"].values())]


@pytest.mark.parametrize(("cls", "field"), CHOICES)
def test_every_choice_is_enforced_at_construction(cls, field):
    with pytest.raises(ConfigError, match=rf"{field.name}: expected one of .*'no-such-choice'"):
        cls(**{field.name: "no-such-choice"})


@pytest.mark.parametrize(("cls", "field"), BOUNDED)
def test_every_bound_is_enforced_at_construction(cls, field):
    too_low = field.metadata["bounds"][">="]
    value = field.metadata["bounds"][">"] if too_low is None else too_low - 1
    with pytest.raises(ConfigError, match=rf"{field.name}: expected a number"):
        cls(**{field.name: value})


EXAMPLES = sorted(path for suffix in ("yaml", "yml") for path in (REPO / "examples").rglob(f"*.{suffix}"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(REPO)))
def test_every_example_loads(path):
    load_expr_config(["--config", str(path)], SFTConfig if "sft" in path.stem else GRPOConfig)
