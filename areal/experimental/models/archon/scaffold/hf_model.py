# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny random HF models whose inner values can be read: every module call and every attention call of one forward pass.

The oracle of the scaffolder. The attention function registered here computes what the model's own eager function does and
writes down its operands, so that positions, scales, masks and sinks are observed, not guessed.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward

from areal.experimental.models.archon.scaffold.attends import Attend, attends_of_own_code
from areal.experimental.models.archon.scaffold.findings import Refused

PROBE = "areal_scaffold_probe"
NUM_TOKENS = 40
"""More than twice every tiny window and step, so that doubled ones are still seen."""
MAX_PARAMETERS = 30_000_000
SLOWER_DECAY = 4.0
"""Of logarithms of decay rates, which start up to 16 a token."""
NOISE = 0.2
"""Standard deviation added to every parameter: default ones and zeros would hide offsets, biases and roles."""


@dataclass
class Call:
    """One call of a module. `x` and `y` are its first tensor argument and result."""

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    x: Tensor
    y: Tensor
    result: Any


@dataclass
class Trace:
    """Everything observed in one forward pass of `model` over `tokens` `[1, T]`."""

    model: PreTrainedModel
    tokens: Tensor
    logits: Tensor | None = None
    calls: list[Call] = field(default_factory=list)
    attends: list[Attend] = field(default_factory=list)

    def calls_of(self, name: str) -> list[Call]:
        """The calls of the module with this path."""
        return [call for call in self.calls if call.name == name]

    def under(self, prefix: str) -> list[Call]:
        """The calls of modules below a path, in order of their end."""
        return [call for call in self.calls if call.name.startswith(prefix + ".")]


def check_size(config: PreTrainedConfig) -> None:
    """`ValueError` naming the largest part of a model that is not tiny: towers whose sizes are other configs'."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    num_parameters = sum(p.numel() for p in model.parameters())
    if num_parameters <= MAX_PARAMETERS:
        return
    name, part, total = "", model, num_parameters
    while sizes := {n: sum(p.numel() for p in child.parameters()) for n, child in part.named_children()}:
        largest = max(sizes, key=sizes.__getitem__)
        if sizes[largest] < num_parameters / 2 and not isinstance(part, nn.ModuleList):  # equal blocks: any of them
            break
        num_parameters = sizes[largest]
        name, part = f"{name}.{largest}".lstrip("."), part.get_submodule(largest)
    shapes = ", ".join(f"{n} {tuple(p.shape)}" for n, p in list(part.named_parameters())[:3])
    raise ValueError(
        f"expected at most {MAX_PARAMETERS:,} parameters, got {total:,}, most of them in {name} "
        f"({type(part).__name__}: {shapes}), whose sizes follow from no field with a known name"
    )


def check_causal(model: PreTrainedModel) -> None:
    """`Refused` for a model whose logits depend on later tokens."""
    config = model.config.get_text_config()
    tokens = random_tokens(config, 0)
    others = tokens.clone()
    others[0, -1] = tokens[0, 0] if tokens[0, 0] != tokens[0, -1] else (tokens[0, -1] + 1) % config.vocab_size
    with torch.no_grad():
        before, after = (logits_of(model, ids)[0, :-1] for ids in (tokens, others))
    if before.shape == after.shape and float((before - after).abs().max()) > 1e-4 * float(before.abs().max()):
        is_encoder = config.to_dict().get("is_decoder") is False
        reason = "it is an encoder (is_decoder=False): its" if is_encoder else "its"
        raise Refused(f"{reason} logits depend on later tokens; Archon runs causal decoders only")


_recorders: list[list[Attend]] = []


def build(config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    """A random fp32 model in eval mode whose every parameter and stored buffer differs from its initial value."""
    torch.manual_seed(seed)
    model = _initialised(config).eval()
    stored = model.state_dict(keep_vars=True)
    seen: set[int] = set()
    with torch.no_grad():
        for name, tensor in stored.items():
            if name.endswith(".A_log"):  # slow decay: who forgets at once has outputs near zero, whose norm is rounding
                tensor.sub_(SLOWER_DECAY)
            if tensor.is_floating_point() and id(tensor) not in seen:
                seen.add(id(tensor))
                tensor.add_(torch.randn_like(tensor) * NOISE)
    return model


def _initialised(config: PreTrainedConfig) -> PreTrainedModel:
    """A model that calls the attention function registered here; its eager code where it only knows classes of its own."""
    config = copy.deepcopy(config)  # some constructors write what they derive into it
    try:
        return AutoModelForCausalLM.from_config(config, attn_implementation=PROBE, dtype=torch.float32)
    except KeyError as error:
        if error.args != (PROBE,):
            raise
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)


def random_tokens(config: PreTrainedConfig, seed: int, num_tokens: int = NUM_TOKENS) -> Tensor:
    """Token ids `[1, T]` that avoid the lowest ids, where special tokens live."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, config.get_text_config().vocab_size, (1, num_tokens), generator=generator)


def trace(model: PreTrainedModel, tokens: Tensor) -> Trace:
    """Run the model once and write everything down."""
    record = Trace(model, tokens)
    handles = [
        module.register_forward_hook(_hook(record.calls, name), with_kwargs=True)
        for name, module in model.named_modules()
        if name
    ]
    try:
        with torch.no_grad(), _recording(record.attends):
            record.logits = logits_of(model, tokens)
    finally:
        for handle in handles:
            handle.remove()
    if not record.attends:
        record.attends = attends_of_own_code(model, tokens)
    return record


def trace_module(call: Call, x: Tensor) -> list[Call]:
    """The calls of one traced module and what is below it, run again alone on other inputs `x` of its kind."""
    record: list[Call] = []
    handles = [
        module.register_forward_hook(_hook(record, f"{call.name}.{name}" if name else call.name), with_kwargs=True)
        for name, module in call.module.named_modules()
    ]
    try:
        with torch.no_grad():
            call.module(x)
    finally:
        for handle in handles:
            handle.remove()
    return record


def logits_of(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Logits `[1, T, V]`, without a cache."""
    return model(input_ids=tokens, use_cache=False).logits


def _hook(calls: list[Call], name: str) -> Callable[..., None]:
    def write(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        x, y = _first_tensor([*args, *kwargs.values()]), _first_tensor([result])
        if x is not None and y is not None:
            # Copies: some families go on working in place.
            calls.append(Call(name, module, args, kwargs, x.detach().clone(), y.detach().clone(), result))

    return write


def _first_tensor(values: list[Any]) -> Tensor | None:
    for value in values:
        if isinstance(value, Tensor):
            return value
        if isinstance(value, tuple | list) and (found := _first_tensor(list(value))) is not None:
            return found
    return None


@contextmanager
def _recording(attends: list[Attend]) -> Iterator[None]:
    _recorders.append(attends)
    try:
        yield
    finally:
        _recorders.pop()


def _probe(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    eager = vars(sys.modules[type(module).__module__]).get("eager_attention_forward", eager_attention_forward)
    out, weights = eager(module, query, key, value, attention_mask, **options)
    if _recorders:
        _recorders[-1].append(Attend(module, query, key, value, attention_mask, out, dict(options)))
    return out, weights


ALL_ATTENTION_FUNCTIONS.register(PROBE, _probe)
ALL_MASK_ATTENTION_FUNCTIONS.register(PROBE, eager_mask)
