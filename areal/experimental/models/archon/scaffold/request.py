# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What `areal archon new` was asked for: a model type, a config file, or a folder with a config and perhaps weights.

Called by `command`; reads files only, runs no code of a checkpoint and downloads nothing.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from transformers import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from areal.experimental.models.archon.scaffold.findings import Refused
from areal.experimental.models.archon.scaffold.tiny_config import BUILD_ERRORS
from areal.harness.core.errors import UsageProblem

_FLOAT = "__float__"


@dataclass(frozen=True)
class Request:
    """A model type; where a file named it, its config (the text part of a composite one) and the checkpoint's folder."""

    model_type: str
    config: PreTrainedConfig | None = None
    folder: Path | None = None


def read_request(model: str) -> Request:
    """What an argument names; `UsageProblem` for what is no HF config, `Refused` for one that transformers refuses."""
    path = Path(model)
    file = path / "config.json" if path.is_dir() else path
    if not file.is_file():
        if not model or "/" in model or model.endswith(".json"):
            raise UsageProblem(
                f"expected a model type, a config.json or a folder with one, got {model!r}", code="model"
            )
        if model not in CONFIG_MAPPING:
            raise Refused(_unknown(model))
        return Request(model)
    fields = _fields_of(file)
    model_type = fields["model_type"]
    if model_type not in CONFIG_MAPPING:
        raise Refused(f"{_unknown(model_type)}{_about_code(fields)}")
    try:
        config = CONFIG_MAPPING[model_type].from_dict(fields)
        text = config.get_text_config()
    except BUILD_ERRORS as error:
        raise Refused(f"transformers refuses {file}: {_last_line(error)}") from error
    composite = config.to_dict()
    if text is not config and "tie_word_embeddings" in composite:
        text.tie_word_embeddings = composite["tie_word_embeddings"]  # the composite model ties, not its text part
    return Request(text.model_type, text, path if path.is_dir() and text is config else None)


def _fields_of(file: Path) -> dict[str, Any]:
    """The object in a config file; `UsageProblem` when it is none, or names no model type."""
    try:
        fields = json.loads(file.read_text(encoding="utf-8"), object_hook=_with_floats)
    except (OSError, ValueError) as error:
        raise UsageProblem(f"expected JSON in {file}, got {type(error).__name__}: {error}", code="model") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("model_type"), str):
        raise UsageProblem(f"expected an HF config with a string model_type, got {file} without", code="model")
    return fields


def _with_floats(entry: dict[str, Any]) -> Any:
    """An object of a file; a float where it is the way in which `save_pretrained` writes one that JSON lacks."""
    if entry.keys() != {_FLOAT}:
        return entry
    if not isinstance(entry[_FLOAT], str):
        raise ValueError(f"expected a string in {_FLOAT!r} such as 'Infinity', got {entry[_FLOAT]!r}")
    return float(entry[_FLOAT])


def _unknown(model_type: str) -> str:
    """That transformers lacks a type, which ones are spelt nearly so, and that another release may have it."""
    near = difflib.get_close_matches(model_type, CONFIG_MAPPING, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; a newer release may have it"
    return f"transformers {transformers.__version__} has no model type {model_type!r}{hint}"


def _about_code(fields: dict[str, Any]) -> str:
    """Why a config with code of its own (`auto_map`) does not help."""
    return "; its auto_map names code of the checkpoint, which is not run" if fields.get("auto_map") else ""


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {' '.join(' '.join(lines).split())}"
