# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Describes one tiny HF model in our vocabulary: its `DecoderArgs`, and the value of each of our parameters.

Nothing here knows families or config fields; `sensitivity` repeats it over many configs and `explain` relates the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    EmbeddingArgs,
    HeadArgs,
    LayerArgs,
    NormArgs,
    RopeArgs,
)
from areal.experimental.models.archon.scaffold.attends import Attend
from areal.experimental.models.archon.scaffold.attention import FittedAttention, MixerTrace, fit_attention
from areal.experimental.models.archon.scaffold.dataflow import (
    is_multiple,
    is_norm_like,
    mismatch,
    ratio,
    rows,
    same,
    snapped_to_one,
)
from areal.experimental.models.archon.scaffold.delta_net import FittedDeltaNet, fit_delta_net, is_delta_net
from areal.experimental.models.archon.scaffold.feed_forward import FittedFeedForward, fit_feed_forward
from areal.experimental.models.archon.scaffold.findings import Refused, Unexplained
from areal.experimental.models.archon.scaffold.hf_model import Call, Trace, trace_module
from areal.experimental.models.archon.scaffold.layout import Branch, LayoutSolver
from areal.experimental.models.archon.scaffold.mla import FittedMLA, fit_mla, is_latent
from areal.experimental.models.archon.scaffold.moe import FittedMoE, fit_moe, has_experts
from areal.experimental.models.archon.scaffold.norms import FittedNorm, fit_norm
from areal.experimental.models.archon.scaffold.positions import fit_positions, what_else
from areal.experimental.models.archon.scaffold.short_conv import FittedShortConv, fit_short_conv, is_short_conv
from areal.experimental.models.archon.scaffold.tiny_config import layer_lists, positions_field

NUM_ROUTED_TOKENS = 500


@dataclass(frozen=True)
class Observation:
    """A model in our vocabulary: arguments, and the tensors by our names."""

    args: DecoderArgs
    tensors: Mapping[str, Tensor]


class Observer:
    """Observes one trace."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.config: PreTrainedConfig = trace.model.config.get_text_config()
        self.known_eps = tuple(
            float(v)
            for v in self.config.to_dict().values()
            if isinstance(v, float | int) and not isinstance(v, bool) and 0 < v < 1
        )
        self.tensors: dict[str, Tensor] = {}
        self.ropes: dict[str, RopeArgs] = {}

    def observe(self) -> Observation:
        """Everything; `Refused` or `Unexplained` at the first part that is not ours."""
        calls = self._layer_calls()
        embedding = self._embedding(rows(calls[0].x))
        layers = tuple(self._layer(i, call) for i, call in enumerate(calls))
        final_norm, head, is_tied = self._head(rows(calls[-1].y))
        args = DecoderArgs(
            vocab_size=int(self.trace.logits.shape[-1]),  # type: ignore[union-attr]
            hidden_size=calls[0].x.shape[-1],
            layers=layers,
            final_norm=final_norm,
            max_positions=self._checked_max_positions(layers),
            ropes=self.ropes,
            embedding=embedding,
            head=head,
            tie_embeddings=is_tied,
        )
        return Observation(args, self.tensors)

    def _layer_calls(self) -> list[Call]:
        """One call of each block, in order."""
        depth = self.config.num_hidden_layers
        for name, module in self.trace.model.named_modules():
            if not isinstance(module, nn.ModuleList) or len(module) != depth:
                continue
            calls = [self.trace.calls_of(f"{name}.{i}") for i in range(depth)]
            if not all(calls) or name.count(".layers.") > 0:
                continue
            if any(len(found) > 1 for found in calls):
                raise Refused(f"its blocks ({name}) run {len(calls[0])} times in one pass; Archon's run once")
            return [found[0] for found in calls]
        lists = [
            f"{name} ({len(module)} {type(module[0]).__name__})"
            for name, module in self.trace.model.named_modules()
            if isinstance(module, nn.ModuleList) and len(module) and not name.count(".layers.")
        ]
        raise Refused(
            f"it has no list of num_hidden_layers = {depth} blocks that run in one pass, but {', '.join(lists) or 'no list'}"
        )

    def _embedding_call(self) -> Call:
        embedding = self.trace.model.get_input_embeddings()
        for call in self.trace.calls:
            if call.module is embedding:
                return call
        raise Refused("its token embedding does not run")

    def _embedding(self, x: Tensor) -> EmbeddingArgs:
        call = self._embedding_call()
        self.tensors["tok_embeddings.weight"] = call.module.get_parameter("weight").detach()
        table = rows(torch.nn.functional.embedding(self.trace.tokens, self.tensors["tok_embeddings.weight"]))
        norm: FittedNorm | None = None
        for other in self.trace.calls:
            if same(rows(other.y), x) and not same(rows(other.x), x) and is_norm_like(other):
                norm = fit_norm(other.module, other.name, x.shape[-1], self.known_eps)
                x = rows(other.x)
                break
        positions = fit_positions(self.trace, x, table, self._max_positions)
        if positions is not None:
            self.tensors["pos_embeddings.weight"] = positions.weight
            x = positions.rest
        if x.shape != table.shape or not is_multiple(x, table):
            error = mismatch(table * ratio(x, table), x) if x.shape == table.shape else float("inf")
            raise Unexplained(call.name, what_else(self.trace, call, x, table), {"scaled embedding": error})
        scale = ratio(x, table)
        if norm is not None:
            self._keep("embedding_norm", norm)
        return EmbeddingArgs(
            scale=snapped_to_one(scale),
            norm=None if norm is None else norm.args,
            has_positions=positions is not None,
            position_offset=0 if positions is None else positions.offset,
        )

    def _max_positions(self) -> int | None:
        field = positions_field(self.config)
        return None if field is None else int(self.config.to_dict()[field])

    def _checked_max_positions(self, layers: tuple[LayerArgs, ...]) -> int | None:
        """The bound of positions, which only distances that are added to scores do without."""
        found = self._max_positions()
        if found is None and any(
            not isinstance(m := layer.mixer, AttentionArgs) or m.alibi is None for layer in layers
        ):
            raise Refused("its config has no max_position_embeddings (nor another name for it)")
        return found

    def _head(self, x: Tensor) -> tuple[NormArgs, HeadArgs, bool]:
        module = self.trace.model.get_output_embeddings()
        call = next((c for c in self.trace.calls if c.module is module), None)
        if call is None or not isinstance(module, nn.Linear):
            raise Refused("it has no linear language-model head that runs")
        norm = next(
            (
                c
                for c in self.trace.calls
                if same(rows(c.x), x) and is_multiple(rows(call.x), rows(c.y)) and c.module is not module
            ),
            None,
        )
        if norm is None:
            raise Unexplained(call.name, "the head does not read a normalisation of the last block's output")
        fitted = fit_norm(norm.module, norm.name, x.shape[-1], self.known_eps)
        self._keep("norm", fitted)
        logits = rows(self.trace.logits)  # type: ignore[arg-type]
        plain = torch.nn.functional.linear(rows(norm.y), module.weight.detach())
        scale_before = ratio(rows(call.x), rows(norm.y))
        bias = None if module.bias is None else module.bias.detach()
        if bias is not None and abs(scale_before - 1.0) > 1e-5:
            raise Unexplained(call.name, "the head has a bias and a scaled input")
        raw = plain if bias is None else plain + bias
        scale, softcap = _fit_caps(call.name, raw, logits)
        is_tied = module.weight is self.trace.model.get_input_embeddings().weight
        if not is_tied:
            self.tensors["output.weight"] = module.weight.detach()
        if bias is not None:
            self.tensors["output.bias"] = bias
        return fitted.args, HeadArgs(bias=bias is not None, scale=scale, softcap=softcap), is_tied

    def _layer(self, i: int, call: Call) -> LayerArgs:
        mixer_call, attend = self._mixer(call)
        feeds = self._feeds(call, mixer_call)
        ffn = Branch(tuple(f.name for f in feeds), *_endpoints(feeds))
        inside = [c for c in self.trace.under(call.name) if any(_is_in(c.name, name) for name in ffn.names)]
        mixer_inside = self.trace.under(mixer_call.name)
        mix = _without_residual(Branch((mixer_call.name,), mixer_call.x, mixer_call.y), mixer_call, mixer_inside)
        if len(feeds) == 1:
            ffn = _without_residual(ffn, feeds[0], inside)
        layout = LayoutSolver(self.trace, call, mix, ffn).solve()
        mix, mixer_norm, mixer_post = _without_norms(mix, mixer_inside)
        ffn, ffn_norm, ffn_post = _without_norms(ffn, inside)
        roles = {
            "attention_norm": mixer_norm,
            "attention_post_norm": mixer_post,
            "ffn_norm": ffn_norm,
            "ffn_post_norm": ffn_post,
        }
        if any(norm is not None and layout.norms[role] is not None for role, norm in roles.items()):
            raise Unexplained(call.name, "has a normalisation behind another one")
        roles = {role: norm if norm is not None else layout.norms[role] for role, norm in roles.items()}
        norms = {role: self._norm(f"layers.{i}.{role}", norm) for role, norm in roles.items()}
        mixer = self._fit_mixer(i, mixer_call, mix, mixer_inside, attend)
        fed = self._fit_ffn(i, call, feeds, inside, ffn)
        return LayerArgs(
            mixer=mixer.args, ffn=fed.args, parallel=layout.parallel, residual_scale=layout.residual_scale, **norms
        )

    def _mixer(self, layer: Call) -> tuple[Call, Attend | None]:
        """The direct child of a block that calls attention, or is one of the other mixers that are known."""
        attends = [a for a in self.trace.attends if any(a.module is c.module for c in self.trace.under(layer.name))]
        if not attends:
            return self._linear_mixer(layer), None
        if len(attends) > 1:
            children = ", ".join(sorted({type(module).__name__ for module in layer.module.children()}))
            what = f"calls transformers' attention function {len(attends)} times, expected once (children: {children})"
            raise Unexplained(layer.name, what)
        path = next(c.name for c in self.trace.calls if c.module is attends[0].module)
        child = ".".join(path.split(".")[: layer.name.count(".") + 2])
        return self.trace.calls_of(child)[0], attends[0]

    def _linear_mixer(self, layer: Call) -> Call:
        """The direct child of a block without attention that mixes tokens, or a refusal with its name."""
        children = self._with_matrices(layer)
        found = [c for c in children if is_delta_net(c.module) or is_short_conv(c.module)]
        if len(found) == 1:
            return found[0]
        first = children[0] if children else layer
        index = int(layer.name.rpartition(".")[2])
        kinds = [
            f"{name}[{index}] is {entries[index]!r}"
            for name, entries in layer_lists(self.config).items()
            if isinstance(entries[index], str) and "mlp" not in name
        ]
        raise Unexplained(
            first.name,
            f"{type(first.module).__name__} does not call transformers' attention function"
            f"{f' (config: {kinds[0]})' if kinds else ''}; of mixers other than softmax attention only gated DeltaNet and "
            "gated short convolutions are known: no state spaces, or other linear attention",
        )

    def _feeds(self, layer: Call, mixer: Call) -> list[Call]:
        """The direct children with matrices that are not the mixer."""
        found = [c for c in self._with_matrices(layer) if c.name != mixer.name]
        for call in found:
            if any(p.ndim == 3 and p.shape[1] == 1 for p in call.module.parameters()):
                what = f"{type(call.module).__name__} convolves tokens beside the mixer {mixer.name}; a block has one mixer"
                raise Unexplained(call.name, what)
        if not found:
            raise Unexplained(layer.name, "has no child with matrices besides its mixer")
        return found

    def _with_matrices(self, layer: Call) -> list[Call]:
        depth = layer.name.count(".") + 1
        return [
            c
            for c in self.trace.under(layer.name)
            if c.name.count(".") == depth and any(p.ndim > 1 for p in c.module.parameters())
        ]

    def _fit_mixer(
        self, i: int, call: Call, branch: Branch, inside: list[Call], attend: Attend | None
    ) -> FittedAttention | FittedMLA | FittedDeltaNet | FittedShortConv:
        where = call.name
        if attend is None and is_short_conv(call.module):
            conv = fit_short_conv(where, inside, rows(branch.x), rows(branch.y), call.module)
            self.tensors |= {f"layers.{i}.short_conv.{name}": t for name, t in conv.weights.items()}
            return conv
        if attend is None:
            net = fit_delta_net(where, inside, rows(branch.x), rows(branch.y), call.module, self.known_eps)
            self.tensors |= {f"layers.{i}.linear_attn.{name}": t for name, t in net.weights.items()}
            return net
        kinds = self.config.to_dict().get("layer_types") or []
        kind = kinds[i] if i < len(kinds) else ""
        mixer = MixerTrace(where, inside, attend, rows(branch.x), rows(branch.y), self.config, kind, self.known_eps)
        fitted = fit_mla(mixer) if is_latent(mixer) else fit_attention(mixer)
        if fitted.args.rope is not None and fitted.table is not None:
            known = self.ropes.setdefault(fitted.args.rope, fitted.table)
            if known != fitted.table:
                raise Unexplained(where, f"rotates by {fitted.table}, another layer by {known}")
        self.tensors |= {f"layers.{i}.attention.{name}": t for name, t in fitted.weights.items()}
        return fitted

    def _fit_ffn(
        self, i: int, layer: Call, feeds: list[Call], inside: list[Call], ffn: Branch
    ) -> FittedFeedForward | FittedMoE:
        where = feeds[0].name if len(feeds) == 1 else layer.name
        fitted: FittedFeedForward | FittedMoE
        if has_experts(feeds):
            if len(feeds) == 1 and len(feeds[0].args) + len(feeds[0].kwargs) == 1:
                ffn, inside = _with_more_tokens(feeds[0])
            fitted = fit_moe(where, inside, rows(ffn.x), rows(ffn.y), self.known_eps, self.config)
            prefix = f"layers.{i}.moe."
        else:
            fitted = fit_feed_forward(inside, where, ffn.x, ffn.y, self.known_eps)
            prefix = f"layers.{i}.feed_forward."
        self.tensors |= {prefix + name: t for name, t in fitted.weights.items()}
        return fitted

    def _norm(self, name: str, call: Call | None) -> NormArgs | None:
        if call is None:
            return None
        fitted = fit_norm(call.module, call.name, call.x.shape[-1], self.known_eps)
        self._keep(name, fitted)
        return fitted.args

    def _keep(self, name: str, norm: FittedNorm) -> None:
        self.tensors |= {f"{name}.{part}": t for part, t in norm.weights.items()}


def _without_residual(branch: Branch, call: Call, inside: list[Call]) -> Branch:
    """A branch whose module adds another of its arguments (the residual stream) to what it computes, without that sum."""
    inside = [c for c in inside if c.name != call.name and c.y.shape[-1] == call.y.shape[-1]]
    if any(same(c.y, branch.y) for c in inside):
        return branch
    for other in [*call.args, *call.kwargs.values()]:
        if not isinstance(other, Tensor) or other.shape != call.y.shape:
            continue
        found = next(
            (c for c in inside if c.y.numel() == call.y.numel() and same(c.y + other.view_as(c.y), call.y)), None
        )
        if found is not None:
            return Branch(branch.names, branch.x, found.y)
    return branch


def _without_norms(branch: Branch, inside: list[Call]) -> tuple[Branch, Call | None, Call | None]:
    """A branch without normalisations at its very ends, which are inside its module in some families, and those."""
    first = last = None
    x, y = branch.x, branch.y
    if not any(isinstance(c.module, nn.Linear) and same(rows(c.x), rows(x)) for c in inside):
        first = next((c for c in inside if c.x.shape[-1] == x.shape[-1] and same(c.x, x) and is_norm_like(c)), None)
    last = next((c for c in inside if c.y.shape[-1] == y.shape[-1] and same(c.y, y) and is_norm_like(c)), None)
    if first is not None:
        x = first.y
    if last is not None:
        y = last.x
    return Branch(branch.names, x, y), first, last


def _endpoints(feeds: list[Call]) -> tuple[Tensor, Tensor]:
    """Input and output of the feed-forward: of one child, of children in a row, or the sum of children side by side."""
    x = rows(feeds[0].x)
    side_by_side = all(same(rows(feed.x), x) and feed.y.numel() == x.numel() for feed in feeds)
    if len(feeds) > 1 and side_by_side:
        return x, torch.stack([rows(feed.y) for feed in feeds]).sum(0)
    return x, rows(feeds[-1].y)


def _with_more_tokens(feed: Call) -> tuple[Branch, list[Call]]:
    """A branch run again on so many tokens that no other rule of choosing experts agrees by chance."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn((1, NUM_ROUTED_TOKENS, feed.x.shape[-1]), generator=generator)
    calls = trace_module(feed, x)
    branch, _, _ = _without_norms(Branch((feed.name,), calls[-1].x, calls[-1].y), calls)
    return branch, calls


def _is_in(name: str, parent: str) -> bool:
    return name == parent or name.startswith(parent + ".")


def _fit_caps(where: str, raw: Tensor, logits: Tensor) -> tuple[float, float | None]:
    """Scale and soft cap in logits = cap(scale · raw)."""
    if is_multiple(logits, raw):
        return snapped_to_one(ratio(logits, raw)), None
    order = raw.abs().flatten().argsort()
    small = order[raw.abs().flatten()[order] > 1e-4 * raw.abs().max()][:16]
    scale = ratio(logits.flatten()[small], raw.flatten()[small])
    scale = 1.0 if abs(scale - 1.0) < 1e-3 else scale
    low, high = float(logits.abs().max()), 1e5
    worst = int(raw.abs().flatten().argmax())
    target, at = float(logits.flatten()[worst].abs()), float(raw.flatten()[worst].abs()) * scale
    for _ in range(200):
        middle = (low * high) ** 0.5
        value = middle * torch.tanh(torch.tensor(at / middle, dtype=torch.float64)).item()
        low, high = (middle, high) if value < target else (low, middle)
    cap = (low * high) ** 0.5
    cap = round(cap, 3) if abs(cap - round(cap, 3)) < 1e-3 * cap else cap
    error = mismatch(torch.tanh(raw * scale / cap) * cap, logits)
    if error > 1e-4:
        raise Unexplained(
            where, "logits are neither a multiple nor a soft cap of the head's product", {"soft cap": error}
        )
    return snapped_to_one(scale), cap
