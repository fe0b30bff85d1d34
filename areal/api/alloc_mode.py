# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Backend strings such as `fsdp:d4`, `native:d2` or `megatron:(attn:d4p2t2|ffn:d2t2e2)`.

A string names an engine and the sizes of its parallel axes: d data, t tensor, p pipeline, c context, e expert; axes that
are not written have size 1. Trainers parse `actor.backend` and `rollout.backend` with `ModelAllocation.from_str`, then
`check_backend_available` compares what is asked with this release and this machine. Every error belongs to
`InvalidAllocationModeError`, a `ConfigError`. Must never import torch at import time.
"""

from __future__ import annotations

import math
import re
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, NoReturn

from areal.utils.errors import ConfigError

if TYPE_CHECKING:
    from areal.api.config.run import ClusterSpecConfig

AXES = {
    "d": "data_parallel_size",
    "t": "tensor_parallel_size",
    "p": "pipeline_parallel_size",
    "c": "context_parallel_size",
    "e": "expert_parallel_size",
}
INFERENCE_BACKENDS = {"native": "d", "sglang": "dtp", "vllm": "dtp"}
TRAIN_BACKENDS = {"fsdp": "dtc", "megatron": "dtpce", "archon": "dtpce"}
_SUPPORTED_AXES = INFERENCE_BACKENDS | TRAIN_BACKENDS
_INSTEAD = {"sglang": "native:d1", "vllm": "native:d1", "megatron": "archon:d1"}
"""Backends that parse, so that AReaL files load, but do not run in this release, and what to use."""

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SIZE = re.compile(r"[1-9][0-9]*", re.ASCII)
_SPACE = re.compile(r"\s*")
_MAX_DIGITS = 9  # keeps a size below a billion: more is a typing error, and Python refuses to print huge integers


class InvalidAllocationModeError(ConfigError):
    """A backend string cannot be read; also the base of every error about allocations."""


class AllocationValidationError(InvalidAllocationModeError):
    """A backend string is well formed, but its sizes contradict each other or the engine."""


@dataclass(frozen=True)
class ParallelStrategy:
    """Sizes of the parallel axes. Experts are spread over the other axes: they never enlarge `world_size`."""

    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    context_parallel_size: int = 1
    expert_parallel_size: int = 1
    expert_tensor_parallel_size: int = 1

    def __post_init__(self) -> None:
        expert_block = self.pp_size * self.etp_size * self.ep_size
        if self.ep_size > 1 and self.world_size % expert_block:
            raise AllocationValidationError(
                f"expected a world size divisible by p*t*e of the experts ({self.pp_size}*{self.etp_size}*"
                f"{self.ep_size} = {expert_block}), got world size {self.world_size} = d*t*p*c ({self.dp_size}*"
                f"{self.tp_size}*{self.pp_size}*{self.cp_size}); lower e or raise d"
            )

    @property
    def tp_size(self) -> int:
        """Size of the tensor axis."""
        return self.tensor_parallel_size

    @property
    def pp_size(self) -> int:
        """Number of pipeline stages."""
        return self.pipeline_parallel_size

    @property
    def dp_size(self) -> int:
        """Size of the data axis."""
        return self.data_parallel_size

    @property
    def cp_size(self) -> int:
        """Size of the context (sequence) axis."""
        return self.context_parallel_size

    @property
    def ep_size(self) -> int:
        """Size of the expert axis."""
        return self.expert_parallel_size

    @property
    def etp_size(self) -> int:
        """Size of the tensor axis within an expert."""
        return self.expert_tensor_parallel_size

    @property
    def edp_size(self) -> int:
        """Copies of each expert."""
        if self.ep_size == 1:
            return self.dp_size
        return self.world_size // (self.pp_size * self.etp_size * self.ep_size)

    @property
    def world_size(self) -> int:
        """Number of devices (processes): d*t*p*c."""
        return self.dp_size * self.tp_size * self.pp_size * self.cp_size

    def data_rank(self, rank: int) -> int:
        """Which share of the data a process gets: ranks are numbered p, d, c, t, the last one fastest."""
        return rank // (self.cp_size * self.tp_size) % self.dp_size

    def data_heads(self) -> list[int]:
        """The first process of each share of the data."""
        ranks = range(self.world_size)
        return [next(rank for rank in ranks if self.data_rank(rank) == share) for share in range(self.dp_size)]

    @staticmethod
    def parallelism_eq(a: ParallelStrategy, b: ParallelStrategy) -> bool:
        """Whether all six sizes agree, whatever the subclasses are."""
        return astuple(a)[:6] == astuple(b)[:6]


@dataclass(frozen=True)
class FSDPParallelStrategy(ParallelStrategy):
    """Layout of the FSDP engine."""


@dataclass(frozen=True)
class MegatronParallelStrategy(ParallelStrategy):
    """Layout of the Megatron engine."""

    virtual_pipeline_parallel_size: int = 1
    use_sequence_parallel: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.virtual_pipeline_parallel_size > 1 and self.pp_size <= 1:
            raise AllocationValidationError(
                "expected pipeline_parallel_size > 1 with virtual_pipeline_parallel_size="
                f"{self.virtual_pipeline_parallel_size}, got {self.pp_size}; set the virtual size to 1"
            )


@dataclass(frozen=True)
class ModelAllocation:
    """One engine and its layout, read from a backend string; `str()` gives a string that reads back as an equal one."""

    backend: str
    parallel: ParallelStrategy
    name: str | None = None

    @staticmethod
    def from_str(spec: str, name: str | None = None) -> ModelAllocation:
        """Read exactly one component.

        Raises `InvalidAllocationModeError` with a caret below the offending character. `name` names the component when
        the string itself (`fsdp[actor]:d4`) does not.
        """
        backend, own_name, parallel = _Parser(spec).parse()
        return ModelAllocation(backend=backend, parallel=parallel, name=own_name or name)

    @property
    def world_size(self) -> int:
        """Number of devices (processes)."""
        return self.parallel.world_size

    @property
    def num_servers(self) -> int:
        """For an inference backend: servers, each on t*p devices."""
        return self.parallel.dp_size

    def __str__(self) -> str:
        head = f"{self.backend}[{self.name}]" if self.name else self.backend
        par = self.parallel
        attn = {"d": par.dp_size, "t": par.tp_size, "p": par.pp_size, "c": par.cp_size}
        if par.etp_size == 1:
            return f"{head}:{_dims({**attn, 'e': par.ep_size})}"
        copies = par.world_size // (par.pp_size * par.etp_size * par.ep_size)
        ffn = {"d": copies, "t": par.etp_size, "p": par.pp_size, "e": par.ep_size}
        return f"{head}:(attn:{_dims(attn)}|ffn:{_dims(ffn)})"


def usable_gpus(cluster: ClusterSpecConfig) -> int:
    """GPUs of this machine that the run may use; 0 means that everything runs on the CPU. Imports torch."""
    if cluster.n_nodes != 1:
        raise ConfigError(
            f"cluster.n_nodes: expected 1 (this release runs on one machine), got {cluster.n_nodes}; set it to 1"
        )
    import torch

    visible = torch.cuda.device_count()
    return visible if cluster.n_gpus_per_node is None else min(visible, cluster.n_gpus_per_node)


def check_backend_available(allocation: ModelAllocation, num_gpus: int) -> None:
    """Raise `ConfigError` when the engine is not in this release, or needs more GPUs than `num_gpus`.

    With `num_gpus=0` the engine runs on the CPU, where processes are not limited. Roles may share a GPU, so each
    allocation is compared with the machine on its own.
    """
    backend = allocation.backend
    if backend in _INSTEAD:
        raise ConfigError(
            f"backend {str(allocation)!r}: {backend} is not in this release, whether installed or not; "
            f"use {_INSTEAD[backend]!r}"
        )
    if 0 < num_gpus < allocation.world_size:
        raise ConfigError(
            f"backend {str(allocation)!r}: expected at most {num_gpus} GPUs (those of this machine, capped by "
            f"cluster.n_gpus_per_node), got a layout of {allocation.world_size}; use '{backend}:d{num_gpus}'"
        )


def _dims(sizes: dict[str, int]) -> str:
    return "".join(f"{axis}{size}" for axis, size in sizes.items() if size > 1) or "d1"


class _Parser:
    """Recursive descent over one backend string; spaces may stand between any two tokens.

    component = backend ["[" name "]"] ":" (dims | ["("] "attn" ":" dims "|" "ffn" ":" dims [")"])
    dims      = (axis size)+
    """

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.pos = 0

    def parse(self) -> tuple[str, str | None, ParallelStrategy]:
        start, backend = self._word("a backend (" + ", ".join(_SUPPORTED_AXES) + ")")
        if backend not in _SUPPORTED_AXES:
            hint = f"write {backend.lower()!r}" if backend.lower() in _SUPPORTED_AXES else "write, e.g., 'fsdp:d1'"
            self._fail(start, f"expected a backend ({', '.join(_SUPPORTED_AXES)}), got {backend!r}; {hint}")
        name = None
        if self._accept("["):
            _, name = self._word("a name")
            self._expect("]")
        self._expect(":")
        strategy = self._hybrid(backend) if self._at_hybrid() else self._plain(backend)
        if self._peek():
            self._fail(
                self.pos,
                f"expected the end after one component, got {self._peek()!r}; actor.backend, rollout.backend "
                "and so on take one component each",
            )
        return backend, name, strategy

    def _plain(self, backend: str) -> ParallelStrategy:
        start = self.pos
        sizes = self._sizes("dtpce", backend)
        return self._strategy(start, {AXES[axis]: size for axis, size in sizes.items()})

    def _hybrid(self, backend: str) -> ParallelStrategy:
        start = self.pos
        if backend not in TRAIN_BACKENDS:
            self._fail(start, f"expected sizes such as d2 for an inference backend, got an attn|ffn pair for {backend}")
        closing = self._accept("(")
        self._keyword("attn")
        attn = self._sizes("cdtp", backend)
        self._expect("|")
        self._keyword("ffn")
        ffn_start = self.pos
        ffn = self._sizes("detp", backend)
        if closing:
            self._expect(")")
        self._match_experts(ffn_start, attn, ffn)
        sizes = {AXES[axis]: size for axis, size in attn.items()}
        sizes |= {"expert_parallel_size": ffn.get("e", 1), "expert_tensor_parallel_size": ffn.get("t", 1)}
        if backend == "fsdp" and sizes["expert_tensor_parallel_size"] > 1:
            self._invalid(ffn_start, "expected no expert axis for fsdp, got ffn t > 1; use attn sizes alone")
        etp, tp = ffn.get("t", 1), attn.get("t", 1)
        if backend == "archon" and etp not in (1, tp):
            self._invalid(ffn_start, f"expected ffn t (the cut of an expert) to be 1 or attn t = {tp}, got t{etp}")
        return self._strategy(start, sizes)

    def _match_experts(self, at: int, attn: dict[str, int], ffn: dict[str, int]) -> None:
        """The experts must use the same devices as the attention: inherit p, derive d, compare the products."""
        world = math.prod(attn.values())
        stages = attn.get("p", 1)
        if ffn.setdefault("p", stages) != stages:
            self._invalid(at, f"expected ffn p = attn p = {stages}, got p{ffn['p']}; leave it out of ffn")
        others = ffn["p"] * ffn.get("t", 1) * ffn.get("e", 1)
        if "d" not in ffn and world % others:
            self._invalid(at, f"expected ffn p*t*e to divide the {world} devices of attn, got {others}; change e or t")
        product = ffn.setdefault("d", world // others) * others
        if product != world:
            self._invalid(
                at, f"expected ffn d*t*p*e = attn d*t*p*c = {world}, got {product}; leave d out of ffn to derive it"
            )

    def _strategy(self, at: int, sizes: dict[str, int]) -> ParallelStrategy:
        try:
            return ParallelStrategy(**sizes)
        except AllocationValidationError as error:
            self._invalid(at, str(error))

    def _sizes(self, axes: str, backend: str) -> dict[str, int]:
        """Read (axis size)+, of which `backend` supports some only, into {axis: size}."""
        supported = _SUPPORTED_AXES[backend]
        found: dict[str, int] = {}
        while (axis := self._peek()).isalpha() or not found:
            at = self.pos
            if axis not in axes or not axis:
                self._fail(at, f"expected one of the axes {', '.join(axes)} with its size, got {axis or 'the end'!r}")
            if axis in found:
                self._fail(at, f"expected each axis once, got a second {axis!r}; write one size for it")
            self.pos += 1
            size = self._size(axis)
            if size > 1 and axis not in supported:
                self._invalid(
                    at, f"expected only the axes {', '.join(supported)} for {backend}, got {axis}{size}; leave it out"
                )
            found[axis] = size
        return found

    def _size(self, axis: str) -> int:
        self._skip()
        match = _SIZE.match(self.spec, self.pos)
        if match is None or len(match[0]) > _MAX_DIGITS:
            got = match[0][:_MAX_DIGITS] + "..." if match else self._peek() or "the end"
            self._fail(self.pos, f"expected a size >= 1 without leading zero after {axis!r}, got {got!r}")
        self.pos = match.end()
        return int(match[0])

    def _at_hybrid(self) -> bool:
        return self._peek() == "(" or self.spec.startswith("attn", self.pos)

    def _keyword(self, word: str) -> None:
        at, found = self._word(f"{word!r}")
        if found != word:
            self._fail(at, f"expected {word!r}, got {found!r}; write (attn:...|ffn:...)")
        self._expect(":")

    def _word(self, what: str) -> tuple[int, str]:
        self._skip()
        match = _WORD.match(self.spec, self.pos)
        if match is None:
            self._fail(self.pos, f"expected {what}, got {self._peek() or 'the end'!r}; write, e.g., 'fsdp:d1'")
        self.pos = match.end()
        return match.start(), match[0]

    def _accept(self, char: str) -> bool:
        found = self._peek() == char
        self.pos += found
        return found

    def _expect(self, char: str) -> None:
        if not self._accept(char):
            self._fail(self.pos, f"expected {char!r}, got {self._peek() or 'the end'!r}; write, e.g., 'fsdp:d1'")

    def _peek(self) -> str:
        """The next character after spaces; empty at the end."""
        self._skip()
        return self.spec[self.pos : self.pos + 1]

    def _skip(self) -> None:
        self.pos = _SPACE.match(self.spec, self.pos).end()

    def _fail(self, at: int, problem: str) -> NoReturn:
        raise InvalidAllocationModeError(self._with_caret(at, problem))

    def _invalid(self, at: int, problem: str) -> NoReturn:
        raise AllocationValidationError(self._with_caret(at, problem))

    def _with_caret(self, at: int, problem: str) -> str:
        # Newlines and tabs would move the caret; each becomes one blank.
        line = re.sub(r"\s", " ", self.spec)
        return f"backend {self.spec!r}: {problem}\n  {line}\n  {' ' * at}^"
