# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The plain runner: any HF causal LM with keys and values per token, through its own module and a `DynamicCache`.

Rows are left-padded to one length, so that they end in the same column. Correct rather than fast: prompts are copied on
every join and a rebuild computes whole sequences. Made by `model_loading`, driven by the scheduler.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache, PretrainedConfig, PreTrainedModel

from areal.engine.native.runner import ModelInfo, Prefix, PreparedWeights
from areal.utils.checksum import weights_checksum
from areal.utils.errors import CheckpointError, ConfigError
from areal.utils.hf_utils import no_progress_bars
from areal.utils.weight_files import check_headers, read_headers, read_tensors

PREFILL_TOKENS = 4096
"""Padded tokens of one prefill call."""
_SELF_TEST_TOLERANCE = 0.05
"""Largest difference of log-probs between cached and full computation at start-up; bf16 rounding stays below it."""


class HFRunner:
    """See `runner.Runner`."""

    def __init__(
        self, config: PretrainedConfig, directory: Path, info: ModelInfo, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.info = info
        self.device = device
        self._config, self._dtype = config, dtype
        headers = read_headers(directory)
        self._shapes = {name: header.shape for name, header in headers.items()}
        with torch.device("meta"):
            self._model_class: type[PreTrainedModel] = type(AutoModelForCausalLM.from_config(config))
        self._mask_RT = torch.zeros(0, 0, dtype=torch.long, device=device)
        self._cache: DynamicCache | None = None
        self.apply_weights(self.read_weights(directory))
        self._self_test()

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> list[Prefix]:
        """See `Runner.prefill`."""
        longest = max(len(p) for p in prompts)
        rows_per_call = max(1, PREFILL_TOKENS // longest)
        return [
            prefix
            for first in range(0, len(prompts), rows_per_call)
            for prefix in self._prefill(prompts[first : first + rows_per_call])
        ]

    def append(self, prefixes: Sequence[Prefix]) -> None:
        """See `Runner.append`."""
        width = max([self._mask_RT.shape[1], *(len(p.tokens) for p in prefixes)])
        rows = [torch.ones(len(p.tokens), dtype=torch.long, device=self.device) for p in prefixes]
        joined = torch.stack([F.pad(row, (width - len(row), 0)) for row in rows])
        self._mask_RT = torch.cat((F.pad(self._mask_RT, (width - self._mask_RT.shape[1], 0)), joined))
        cache = DynamicCache()
        for layer in range(len(prefixes[0].kv) // 2):
            sides = []
            for side in (0, 1):
                old = [] if self._cache is None else [_layer_kv(self._cache, layer)[side]]
                new = [p.kv[2 * layer + side] for p in prefixes]
                sides.append(torch.cat([F.pad(t, (0, 0, width - t.shape[2], 0)) for t in (*old, *new)]))
            cache.update(sides[0], sides[1], layer)
        self._cache = cache

    def decode(self, tokens_R: Tensor) -> Tensor:
        """See `Runner.decode`."""
        positions_R = self._mask_RT.sum(-1)
        self._mask_RT = F.pad(self._mask_RT, (0, 1), value=1)
        return self._forward(tokens_R[:, None], self._mask_RT, positions_R[:, None], self._cache)

    def retain(self, order: Sequence[int]) -> None:
        """See `Runner.retain`; columns that no row needs any more go too."""
        if not order:
            self._drop_rows()
            return
        index = torch.tensor(order, device=self.device)
        mask_RT = self._mask_RT[index]
        start = int(mask_RT.any(0).long().argmax())
        cache = DynamicCache()
        for layer in range(len(self._cache.layers)):
            keys, values = _layer_kv(self._cache, layer)
            cache.update(keys[index, :, start:], values[index, :, start:], layer)
        self._mask_RT, self._cache = mask_RT[:, start:], cache

    def rebuild(self, prefixes: Sequence[Prefix], suffixes: Sequence[Sequence[int]]) -> None:
        """See `Runner.rebuild`. Windowed layers count columns, so padding inside a row is not an option."""
        self._drop_rows()
        if prefixes:
            self.append(self.prefill([(*p.tokens, *s) for p, s in zip(prefixes, suffixes, strict=True)]))

    def read_weights(self, directory: Path) -> PreparedWeights:
        """See `Runner.read_weights`. A checkpoint must have the names and shapes of the one served first."""
        headers = read_headers(directory)
        check_headers(headers, self._shapes)
        unknown = sorted(headers.keys() - self._shapes.keys())
        if unknown:
            raise CheckpointError(f"expected {len(self._shapes)} tensors, got {unknown[:4]} beside them; remove them")
        state = read_tensors(headers)
        checksum = weights_checksum(state.items())
        # From the tensors rather than the directory, which need not hold any of HF's JSON files.
        with no_progress_bars():
            model, report = self._model_class.from_pretrained(
                None, config=self._config, state_dict=state, dtype=self._dtype, output_loading_info=True
            )
        if report["missing_keys"] or report["mismatched_keys"]:
            missing = sorted(report["missing_keys"])[:4]
            raise CheckpointError(f"expected every parameter of {self.info.model_type}, got none for {missing}")
        return PreparedWeights(payload=model.to(self.device).eval().requires_grad_(False), checksum=checksum)

    def apply_weights(self, weights: PreparedWeights) -> None:
        """See `Runner.apply_weights`; the prepared module replaces the old one."""
        self._model: PreTrainedModel = weights.payload
        self.checksum = weights.checksum

    def _drop_rows(self) -> None:
        self._mask_RT = torch.zeros(0, 0, dtype=torch.long, device=self.device)
        self._cache = None

    def _prefill(self, prompts: Sequence[tuple[int, ...]]) -> list[Prefix]:
        width = max(len(p) for p in prompts)
        tokens_RT = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=self.device)
        mask_RT = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.device)
        cache = DynamicCache()
        logits_RV = self._forward(tokens_RT, mask_RT, (mask_RT.cumsum(-1) - 1).clamp(min=0), cache)
        layers = [_layer_kv(cache, layer) for layer in range(len(cache.layers))]
        return [
            Prefix(
                tokens=tuple(prompt),
                logits=logits_RV[row].clone(),
                kv=tuple(t[row : row + 1, :, width - len(prompt) :].clone() for kv in layers for t in kv),
            )
            for row, prompt in enumerate(prompts)
        ]

    def _forward(self, tokens_RS: Tensor, mask_RT: Tensor, positions_RS: Tensor, cache: DynamicCache | None) -> Tensor:
        output = self._model(
            input_ids=tokens_RS,
            attention_mask=mask_RT,
            position_ids=positions_RS,
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()

    @torch.inference_mode()
    def _self_test(self) -> None:
        """Refuse models whose context is not keys and values per token (recurrent states, windows kept in the cache)."""
        vocab = self.info.vocab_size
        tokens = [(7 * i + 3) % vocab for i in range(9)]
        self.append(self.prefill([tuple(tokens[:5]), tuple(tokens[2:4])]))
        for token in tokens[5:8]:
            self.decode(torch.tensor([token, token], device=self.device))
        got = self.decode(torch.tensor([tokens[8]] * 2, device=self.device))[0]
        self._drop_rows()
        ids = torch.tensor([tokens], device=self.device)
        expected = self._forward(ids, torch.ones_like(ids), torch.arange(9, device=self.device)[None], None)[0]
        difference = (got.log_softmax(-1) - expected.log_softmax(-1)).abs().max().item()
        if not difference < _SELF_TEST_TOLERANCE:
            raise ConfigError(
                f"expected cached and full computation of {self.info.model_type} to agree, got log-probs that differ by "
                f"{difference:.3g}; serve this model with vLLM or SGLang"
            )


def _layer_kv(cache: DynamicCache, layer: int) -> tuple[Tensor, Tensor]:
    """Keys and values `[R, K, T, D]` of a layer."""
    return cache.layers[layer].keys, cache.layers[layer].values
