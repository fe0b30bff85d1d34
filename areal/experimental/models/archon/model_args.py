# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a decoder is made of: the option vocabulary of all layers, as frozen data. A family only fills it in.

Read by the layers (mathematics), by `parallel` (what may be sharded), by weight maps (which tensors exist) and by the
embedded server (what to cache). Holds no tensors and imports no torch. A new option is added here with its neutral value as
default, and in exactly one layer.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, get_args, get_type_hints

Activation = Literal["silu", "gelu", "gelu_tanh", "relu", "relu2", "xielu", "clamped_swiglu"]


class _Checked:
    """Refuses values outside the `Literal` types of a dataclass, naming field and choices."""

    def __post_init__(self) -> None:
        for name, choices in _choices(type(self)).items():
            value = self.__dict__[name]
            if value not in choices:
                raise ValueError(
                    f"{type(self).__name__}.{name}: expected one of {', '.join(map(str, choices))}, got {value!r}"
                )


@functools.cache
def _choices(cls: type) -> Mapping[str, tuple[str, ...]]:
    """The values of the `Literal` fields of a dataclass."""
    hints = get_type_hints(cls)
    found = {entry.name: get_args(hints[entry.name]) for entry in fields(cls)}  # type: ignore[arg-type]
    return {name: choices for name, choices in found.items() if choices and isinstance(choices[0], str)}


@dataclass(frozen=True, kw_only=True)
class NormArgs(_Checked):
    """A normalisation over the last dimension.

    kind: `rms` divides by the root mean square, `layer` subtracts the mean first, `l2` divides by the Euclidean norm.
    offset: added to the stored weight; 1.0 where checkpoints store w - 1 (gemma). weight_in_fp32: multiply by the weight
    before rounding to the input dtype (gemma, olmo2, gpt_oss) instead of after (llama); equal in fp32.
    """

    kind: Literal["rms", "layer", "l2"] = "rms"
    eps: float = 1e-6
    offset: float = 0.0
    has_weight: bool = True
    has_bias: bool = False
    weight_in_fp32: bool = False


@dataclass(frozen=True, kw_only=True)
class RopeArgs(_Checked):
    """One table of rotary frequencies (Su et al. 2021). `kind` is a `rope_type` of transformers, or
    `ntk_alpha`: theta grown by factor^(d / (d - 2)) whatever the length, which Hunyuan's configs call dynamic with an alpha.

    rotary_dim: leading dimensions of a head that rotate. factor, low/high_freq_factor, beta_*, short/long_factor,
    attention_factor, truncate: parameters of the kinds that use them. original_max_positions: length before scaling.
    max_positions: trained length (dynamic). attention_factor multiplies cos and sin; None: the rule of the kind.
    """

    theta: float
    rotary_dim: int
    kind: Literal["default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional", "ntk_alpha"] = "default"
    style: Literal["half", "interleaved"] = "half"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()
    original_max_positions: int = 0
    max_positions: int = 0
    attention_factor: float | None = None
    head_dim: int = 0
    """Width of the whole head (proportional rope); 0 means rotary_dim."""
    is_reversed: bool = False
    """Whether heads turn the other way round (nanochat)."""


@dataclass(frozen=True, kw_only=True)
class ScoreArgs:
    """How attention scores become weights; what an attention back-end must be able to do.

    scale: factor of q·k. window: a token sees itself and the window - 1 tokens before it. chunk: a token sees only its own
    chunk of that many positions (llama4). softcap: c·tanh(s/c) before masking. sinks: one learned score a head joins the
    denominator.
    """

    scale: float
    window: int | None = None
    chunk: int | None = None
    softcap: float | None = None
    sinks: bool = False


@dataclass(frozen=True, kw_only=True)
class QKNormArgs(_Checked):
    """Normalisation of queries and keys. `head`: over each head's channels with one weight for all heads; `flat`: over the
    channels of all heads together; `per_head`: over each head's channels with a weight for each head."""

    norm: NormArgs
    kind: Literal["head", "flat", "per_head"] = "head"
    after_rope: bool = False


@dataclass(frozen=True, kw_only=True)
class QueryTemperatureArgs:
    """Queries are multiplied by 1 + beta · log(1 + floor((position + offset) / floor_scale)) (llama4, ministral3)."""

    beta: float
    floor_scale: float
    offset: float = 0.0


ALIBI_WIDTH = 3
"""Channels that linear biases add to queries and keys where they meet."""


@dataclass(frozen=True, kw_only=True)
class AlibiArgs:
    """Linear biases of scores (Press et al. 2022): of H heads, head h = 0, 1, ... adds -factor · m_h · distance.

    With H a power of two, m_h = 2^(-max_bias · (h + 1) / H); with n the next power of two above H, the m_h are those of n/2
    heads, then every second one of those of n heads.
    """

    max_bias: float = 8.0
    factor: float = 1.0


@dataclass(frozen=True, kw_only=True)
class AttentionArgs(_Checked):
    """Grouped-query attention. `rope` names a table of `DecoderArgs.ropes`; None means no positions (NoPE).

    gate: `query`: q_proj emits [q | gate] for each head, sigmoid(gate) multiplies the output; `channel`: a projection of its
    own, one gate a channel; `head`: one gate a head. gate_activation: what makes a factor of the gate. alibi: see there.
    out_norm: over all channels before the output projection. clip_qkv: clamp of all projections. value_scale multiplies the
    output of attention.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    value_head_dim: int
    score: ScoreArgs
    rope: str | None = "default"
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: QKNormArgs | None = None
    gate: Literal["none", "query", "channel", "head"] = "none"
    gate_activation: Literal["sigmoid", "softplus"] = "sigmoid"
    clip_qkv: float | None = None
    query_temperature: QueryTemperatureArgs | None = None
    alibi: AlibiArgs | None = None
    out_norm: NormArgs | None = None
    value_scale: float = 1.0

    @property
    def qk_width(self) -> int:
        """Channels of a head of queries and keys where they meet: what caches hold and kernels read."""
        return self.head_dim + (0 if self.alibi is None else ALIBI_WIDTH)


@dataclass(frozen=True, kw_only=True)
class MLAArgs:
    """Multi-head latent attention (DeepSeek-V2): keys and values come from one latent vector a token, rope from another.

    q_rank None: queries are projected directly. Heads are [nope | rope] wide in q and k, `value_head_dim` in v.
    """

    num_heads: int
    q_rank: int | None
    kv_rank: int
    nope_head_dim: int
    rope_head_dim: int
    value_head_dim: int
    score: ScoreArgs
    norm: NormArgs
    rope: str = "default"
    bias: bool = False
    out_bias: bool = False


@dataclass(frozen=True, kw_only=True)
class DeltaNetArgs:
    """Gated DeltaNet (Yang et al. 2024): linear attention with a decaying state, behind a short causal convolution."""

    num_key_heads: int
    num_value_heads: int
    key_head_dim: int
    value_head_dim: int
    conv_kernel: int
    norm: NormArgs
    activation: Activation = "silu"
    step_scale: float = 1.0
    """2.0 where steps may overshoot, so that the state's factors lie in (-1, 1) (olmo_hybrid)."""
    fused_projections: bool = False
    """Only for weight maps: whether HF stores [q,k,v,z] and [b,a] interleaved a key head (qwen3_next)."""

    @property
    def conv_channels(self) -> int:
        """Channels of the convolution: those of q, k and v."""
        return 2 * self.num_key_heads * self.key_head_dim + self.num_value_heads * self.value_head_dim


@dataclass(frozen=True, kw_only=True)
class ShortConvArgs:
    """A gated short convolution instead of attention (LFM2): out(c · conv(b · v)), b, c and v projections of the token.

    bias: of the projections and of the convolution.
    """

    conv_channels: int
    conv_kernel: int
    bias: bool = False


@dataclass(frozen=True, kw_only=True)
class FeedForwardArgs(_Checked):
    """w2(act(w1 x) · w3 x) if gated, else w2(act(w1 x)). inner_norm: before w2 (bitnet)."""

    intermediate_size: int
    activation: Activation = "silu"
    gated: bool = True
    in_bias: bool = False
    out_bias: bool = False
    inner_norm: NormArgs | None = None


@dataclass(frozen=True, kw_only=True)
class RouterArgs(_Checked):
    """Choice of experts. Scores: softmax or sigmoid over all experts, or over the chosen ones only (`*_topk`).

    selection_bias: a buffer added to the scores for the choice alone (aux-loss-free balancing). groups: choose
    `num_limited_groups` of `num_groups` first, by the `group_reduce` of their scores. normalize: divide the chosen weights
    by their sum, which is at least normalize_eps (`clamp`) or increased by it (`add`). input_norm and others: see layer.
    """

    score: Literal["softmax", "sigmoid", "softmax_topk", "sigmoid_topk", "sparsemixer"] = "softmax"
    bias: bool = False
    selection_bias: bool = False
    num_groups: int = 1
    num_limited_groups: int = 1
    group_reduce: Literal["max", "top2_sum"] = "top2_sum"
    masked_score: Literal["zero", "minus_inf"] = "minus_inf"
    normalize: bool = False
    normalize_eps: float = 0.0
    normalize_by: Literal["add", "clamp"] = "add"
    scale: float = 1.0
    softcap: float | None = None
    jitter_eps: float = 0.01
    """sparsemixer: width of the mask around the maximum."""


@dataclass(frozen=True, kw_only=True)
class ExpertArgs(_Checked):
    """The feed-forward of each expert; weights are `[num_experts, out, in]`."""

    intermediate_size: int
    activation: Activation = "silu"
    gated: bool = True
    bias: bool = False
    clamp: float | None = None
    """clamped_swiglu: limit of gate (above) and up (both sides)."""
    alpha: float = 1.702
    """clamped_swiglu: slope of the gate's sigmoid."""


@dataclass(frozen=True, kw_only=True)
class SharedExpertArgs:
    """A dense feed-forward that sees every token; gate: multiplied by sigmoid of a learned projection of the token."""

    feed_forward: FeedForwardArgs
    gate: bool = False


@dataclass(frozen=True, kw_only=True)
class MoEArgs:
    """Mixture of experts. weight_on_input: the routing weight multiplies the expert's input, not its output (llama4).

    output_scale: factor of the sum of routed and shared experts; 0.5 where HF averages the two (cohere2_moe).
    """

    num_experts: int
    top_k: int
    router: RouterArgs
    experts: ExpertArgs
    shared: SharedExpertArgs | None = None
    weight_on_input: bool = False
    output_scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class LayerArgs:
    """One block: x += s·post(mixer(pre(x))), then x += s·post(ffn(pre(x))); an absent norm is the identity.

    Pre-norm, post-norm (olmo2) and sandwich (gemma2) are choices of the four norms. parallel: both branches read the input
    of the block; without an own `ffn_norm` they share the attention's.
    """

    mixer: AttentionArgs | MLAArgs | DeltaNetArgs | ShortConvArgs
    ffn: FeedForwardArgs | MoEArgs
    attention_norm: NormArgs | None = None
    attention_post_norm: NormArgs | None = None
    ffn_norm: NormArgs | None = None
    ffn_post_norm: NormArgs | None = None
    parallel: bool = False
    residual_scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class EmbeddingArgs:
    """Token embedding; scale multiplies its output (rounded to the embedding's dtype where HF does).

    has_positions: a learned vector for each position is added before the norm (gpt2). position_offset: rows of its table
    that stand before that of position 0 and are never read (2 in opt, counted from a padding index).
    """

    scale: float = 1.0
    norm: NormArgs | None = None
    has_positions: bool = False
    position_offset: int = 0


@dataclass(frozen=True, kw_only=True)
class HeadArgs:
    """Logits = softcap(scale · (W h + b))."""

    bias: bool = False
    scale: float = 1.0
    softcap: float | None = None


@dataclass(frozen=True, kw_only=True)
class DecoderArgs:
    """A causal decoder. `layers` has one entry a block; `ropes` the tables they name. is_critic: a score a token, no logits.

    max_positions: None where nothing bounds them (alibi).
    """

    vocab_size: int
    hidden_size: int
    layers: tuple[LayerArgs, ...]
    final_norm: NormArgs
    max_positions: int | None
    ropes: Mapping[str, RopeArgs] = field(default_factory=dict)
    embedding: EmbeddingArgs = EmbeddingArgs()
    head: HeadArgs = HeadArgs()
    tie_embeddings: bool = False
    is_critic: bool = False
    init_std: float = 0.02

    @property
    def num_layers(self) -> int:
        """Number of blocks."""
        return len(self.layers)

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """Indices of the blocks with experts."""
        return tuple(i for i, layer in enumerate(self.layers) if isinstance(layer.ffn, MoEArgs))

    def scores(self) -> Iterator[ScoreArgs]:
        """The needs of all softmax attention layers."""
        for layer in self.layers:
            if isinstance(layer.mixer, AttentionArgs | MLAArgs):
                yield layer.mixer.score
