# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Compares our model with the HF model it was observed from: logits and gradients of every parameter.

The last word on every observation: whatever the measurements of the parts said, the whole must agree.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.proof.oracle import MAX_SENSITIVITY
from areal.experimental.models.archon.scaffold.dataflow import mismatch
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import logits_of


def ours_of(args: DecoderArgs, tensors: Mapping[str, Tensor]) -> ArchonModel:
    """Our model with these values (copies); `Unexplained` when names or shapes do not fit."""
    with torch.device("meta"):
        model = ArchonModel(args)
    expected = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    got = {name: tuple(t.shape) for name, t in tensors.items()}
    if expected != got:
        odd = sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))
        raise Unexplained("weights", f"our model and what was found differ in {odd[:4]}", details={"names": odd})
    model.load_state_dict({name: t.detach().clone() for name, t in tensors.items()}, strict=True, assign=True)
    return model


def logits_of_ours(model: ArchonModel, tokens: Tensor) -> Tensor:
    """Logits `[1, T, V]` of one sequence `[1, T]`."""
    length = tokens.shape[1]
    positions = torch.arange(length)[None]
    return model(tokens, positions, torch.tensor([0, length], dtype=torch.int32), length)


def forward_error(hf: PreTrainedModel, model: ArchonModel, tokens: Tensor) -> float:
    """Largest difference of logits relative to the largest logit."""
    with torch.no_grad():
        return mismatch(logits_of_ours(model, tokens), logits_of(hf, tokens))


def gradient_error(hf: PreTrainedModel, model: ArchonModel, tokens: Tensor) -> tuple[float, str]:
    """Largest relative difference of the norms of embedding and input-side gradients of a random loss, and its place.

    The gradient of the embedding passes through every operation; those of other parameters are compared by the generated
    tests, which know the HF names.
    """
    losses = [_loss(logits, tokens) for logits in (logits_of(hf, tokens), logits_of_ours(model, tokens))]
    table = hf.get_input_embeddings().get_parameter("weight")
    assert model.tok_embeddings is not None
    expected = torch.autograd.grad(losses[0], table)[0]
    got = torch.autograd.grad(losses[1], model.tok_embeddings.weight)[0]
    return mismatch(got, expected), "tok_embeddings.weight"


def is_steady(hf: PreTrainedModel, tokens: Tensor) -> bool:
    """Whether rounding hardly changes logits and gradients; other models are no test of an implementation."""
    weights = {parameter: parameter.data for parameter in hf.parameters()}
    table = hf.get_input_embeddings().get_parameter("weight")
    results = []
    for _ in range(2):
        logits = logits_of(hf, tokens)
        results.append((logits.detach(), torch.autograd.grad(_loss(logits, tokens), table)[0]))
        for parameter, data in weights.items():
            parameter.data = data * (1 + torch.randn_like(data) * torch.finfo(data.dtype).eps)
    for parameter, data in weights.items():
        parameter.data = data
    moved = [mismatch(after, before) for before, after in zip(*results)]
    return all(got <= limit for got, limit in zip(moved, MAX_SENSITIVITY))


def _loss(logits: Tensor, tokens: Tensor) -> Tensor:
    weight = torch.randn(logits.shape[1], generator=torch.Generator().manual_seed(5))
    return (logits.log_softmax(-1)[0, :-1].gather(1, tokens[0, 1:, None])[:, 0] * weight[:-1]).sum()
