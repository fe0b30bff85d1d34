# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The contracts of an Archon model: its arguments, its module, and the adapter between its tensors and HF's.

`model_spec` binds one of each to the HF `model_type`s it serves. Everything else (engine, server, checkpoints, scaffolder)
sees models through these classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from torch import nn

from areal.utils.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedConfig


class UnsupportedConfig(ConfigError):
    """The HF config asks for a computation that the family does not do; `field` names the entry."""

    def __init__(self, field: str, expected: str, got: object, remedy: str = "extend the family") -> None:
        super().__init__(field, expected, got)
        self.field = field
        self.expected = expected
        self.got = got
        self.remedy = remedy

    def __str__(self) -> str:
        return (
            f"Archon cannot run this model: {self.field} must be {self.expected}, got {self.got!r}; use the HF module "
            f"(backend fsdp) or {self.remedy}"
        )


class BaseModelArgs(ABC):
    """Arguments of a model that can be read from an HF config; a family mixes it into `DecoderArgs`."""

    @classmethod
    @abstractmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of an HF config; `UnsupportedConfig` naming the first field whose value is not computed."""


class BaseArchonModel(nn.Module, ABC):
    """A causal decoder over packed sequences, whole or one pipeline stage; `layers` is keyed by the global layer index.

    Built on the meta device; then parameters get memory (`to_empty`) and weights, buffers their device (`init_buffers`).
    """

    @abstractmethod
    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int | Tensor,
        tree_attn_meta: Any | None = None,
    ) -> Tensor:
        """Logits, values or, on an inner stage, hidden states `[1, N, ...]` of tokens (or hidden states) `[1, N, ...]`."""

    @abstractmethod
    def init_weights(self) -> None:
        """Random weights in place of whatever the parameters hold."""

    @abstractmethod
    def init_buffers(self, buffer_device: torch.device) -> None:
        """Put the buffers where the model computes, which is not where offloaded parameters are."""


class BaseStateDictAdapter(ABC):
    """Names and layouts of HF checkpoints for one model; holds no tensors."""

    def __init__(self, model_args: Any, hf_assets_path: str | Path | None = None) -> None:
        self.model_args = model_args
        self.hf_assets_path = None if hf_assets_path is None else Path(hf_assets_path)

    @abstractmethod
    def from_hf(self, hf_state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Our tensors of a complete HF state; `CheckpointError` on missing, unknown or misshaped ones."""

    @abstractmethod
    def to_hf(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """The HF tensors of a complete state of ours, in the layout that `from_pretrained` and vLLM read."""

    @abstractmethod
    def convert_single_to_hf(self, name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
        """The HF tensors of one of ours; `ValueError` where HF stores it fused with others (use `groups`)."""
