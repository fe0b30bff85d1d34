# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Reads an HF config so that nothing in it is ignored: a field nobody read must hold its class's default.

Every family's `from_hf_config` reads its fields inside `reading(config)`. When the block ends, each field that was not read,
is not known to be without influence on the computation, and differs from the default of its config class raises
`UnsupportedConfig` with its name. The proof of a family covers the defaults; everything else must be read.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import UnsupportedConfig

# Names, token ids, labels, bookkeeping, and switches of outputs, caches and training losses that we make ourselves.
WITHOUT_INFLUENCE = frozenset(
    {
        "_name_or_path",
        "architectures",
        "auto_map",
        "aux_loss_alpha",
        "bos_token_id",
        "cache_implementation",
        "chunk_size_feed_forward",
        "decoder_start_token_id",
        "dtype",
        "eos_token_id",
        "ep_size",
        "finetuning_task",
        "id2label",
        "image_token_id",
        "init_method",
        "initializer_range",
        "is_encoder_decoder",
        "label2id",
        "model_type",
        "mtp_num_hidden_layers",
        "mtp_use_dedicated_embeddings",
        "num_nextn_predict_layers",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "pad_token_id",
        "pretraining_tp",
        "problem_type",
        "return_dict",
        "router_aux_loss_coef",
        "sep_token_id",
        "seq_aux",
        "task_specific_params",
        "tokenizer_class",
        "torch_dtype",
        "transformers_version",
        "use_cache",
        "video_token_id",
        "vision_end_token_id",
        "vision_start_token_id",
    }
)
_OFF = (None, False, 0, "", [], {})
"""Values that switch off whatever a field means that HF's own class does not know."""
_FACTOR = re.compile(r"(freq|interval|step|factor|scale|scaling|multiplier)$")
"""Fields whose one changes nothing, such as an expert layer in every single layer (moe_layer_freq)."""
_MISSING = object()


class HFFields:
    """The fields of one HF config, and which of them were read."""

    def __init__(self, config: PreTrainedConfig) -> None:
        text = config.get_text_config()
        self.model_type: str = text.model_type
        self._values: dict[str, Any] = text.to_dict()
        if text is not config and "tie_word_embeddings" in (whole := config.to_dict()):
            self._values["tie_word_embeddings"] = whole[
                "tie_word_embeddings"
            ]  # the composite model ties, not its text part
        self._defaults = _defaults_of(type(text))
        self._read: set[str] = set()
        if (quantization := self._values.get("quantization_config")) is not None:
            raise UnsupportedConfig(
                "quantization_config",
                "absent (weights are trained unquantised: save a dequantised checkpoint first)",
                quantization.get("quant_method", quantization),
            )

    def __call__(self, name: str, default: Any = _MISSING) -> Any:
        """The value of a field; `UnsupportedConfig` when the config lacks it and there is no default."""
        self._read.add(name)
        if name in self._values:
            return self._values[name]
        if default is _MISSING:
            raise UnsupportedConfig(name, "set", None)
        return default

    def first(self, *names: str) -> Any:
        """The value of the first of these fields that the config has: names that versions of transformers give to one thing."""
        for name in names:
            if name in self._values:
                return self(name)
        return self(names[0])

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def expect(self, name: str, *allowed: Any) -> None:
        """Read a field that may only have the values that the family computes (absent counts as allowed)."""
        value = self(name, allowed[0])
        if value not in allowed:
            raise UnsupportedConfig(name, " or ".join(map(repr, allowed)), value)

    def expect_each(self, name: str, *allowed: Any) -> None:
        """Read a list, such as one entry a layer, whose entries may only be values that the family computes."""
        for value in self(name, None) or ():
            if value not in allowed:
                raise UnsupportedConfig(name, f"made of {', '.join(map(repr, allowed))}", value)

    def require(self, *names: str) -> None:
        """Read fields that the class leaves at None, and that must be set."""
        for name in names:
            if self(name, None) is None:
                raise UnsupportedConfig(name, "set", None)

    def ignore(self, *names: str) -> None:
        """Declare fields of this family that do not influence the computation, whatever their value."""
        self._read.update(names)

    def finish(self) -> None:
        """Refuse what nobody read and what is not at its default; of fields that the class does not have, what is not off."""
        for name, value in self._values.items():
            if name in self._read or name in WITHOUT_INFLUENCE:
                continue
            if is_dropout(name):
                if value:
                    raise UnsupportedConfig(name, "0 (no dropout is computed; disable_dropout sets it)", value)
            elif name not in self._defaults:
                if not is_off(name, value):
                    known = (
                        f"transformers' {self.model_type} has no such field; delete it if it describes the model only"
                    )
                    raise UnsupportedConfig(name, f"absent ({known})", value)
            elif value != (default := self._defaults[name]):
                self._refuse(name, value, default)

    def _refuse(self, name: str, value: Any, default: Any) -> None:
        """Refuse a value that is not the default; of a nested config, the first entry that means something."""
        if isinstance(value, dict) and isinstance(default, dict):
            for key in sorted((value.keys() | default.keys()) - WITHOUT_INFLUENCE):
                if value.get(key) != default.get(key):
                    self._refuse(f"{name}.{key}", value.get(key), default.get(key))
            return
        raise UnsupportedConfig(name, f"{default!r} (the {self.model_type} family does not read it)", value)


@functools.cache
def _defaults_of(config_class: type[PreTrainedConfig]) -> Mapping[str, Any]:
    """The fields of the default config of a class."""
    return MappingProxyType(config_class().to_dict())


def is_off(name: str, value: Any) -> bool:
    """Whether a field that HF's class does not know asks for nothing: it is off, or a factor or an interval of one."""
    is_one = isinstance(value, int | float) and not isinstance(value, bool) and value == 1
    return value in _OFF or (is_one and _FACTOR.search(name) is not None)


def is_dropout(name: str) -> bool:
    """Whether a field holds a probability of dropping activations."""
    return "dropout" in name or name.endswith("_pdrop")


@contextmanager
def reading(config: PreTrainedConfig) -> Iterator[HFFields]:
    """The fields of a config; checks at the end that nothing was ignored."""
    hf = HFFields(config)
    yield hf
    hf.finish()
