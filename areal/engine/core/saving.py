# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Writes and reads checkpoints of a training engine: HF directories, and sharded ones that continue a run exactly.

All ranks call these together. A directory appears whole or not at all, and a failure on one rank (a full disk) raises
on all of them with everything saved before intact, instead of leaving the others in a collective.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from areal.api.io_struct import SaveLoadMeta
from areal.engine.core.model import PackedModel
from areal.engine.core.optim import OptimizerSet
from areal.engine.core.topology import Topology
from areal.utils.checkpoint_dir import write_weights
from areal.utils.errors import ArealError, CheckpointError
from areal.utils.fs import AtomicDirectory
from areal.utils.hf_utils import load_hf_tokenizer
from areal.utils.logging import getLogger

logger = getLogger("saving")

# What writing can raise; CheckpointException is how DCP reports a failure of any rank.
_FAILURES = (OSError, RuntimeError, ValueError, ArealError, SafetensorError, CheckpointException)
# One name for each parameter's optimizer state, so that any number of ranks and optimizers can read it back.
_OPTIONS = StateDictOptions(flatten_optimizer_state_dict=True)


def write_together(path: str | Path, topology: Topology, write: Callable[[Path], None]) -> None:
    """Run `write(folder)` on all ranks and make `folder` become `path` if all of them succeeded.

    `folder` does not exist at first. On failure every rank raises `CheckpointError` and `path` stays as it was.
    """
    path = Path(path)

    def on_all_ranks(folder: Path) -> None:
        topology.raise_together(failure_of(lambda: write(folder)))

    def publish() -> None:
        if topology.rank == 0:
            with AtomicDirectory(path, fsync=True) as folder:
                topology.broadcast_from_first(str(folder))
                on_all_ranks(folder)
        else:
            on_all_ranks(Path(str(topology.broadcast_from_first(None))))

    # The folder above must exist before rank 0 enters AtomicDirectory: nobody waits for a broadcast that never comes.
    topology.raise_together(failure_of(lambda: path.parent.mkdir(parents=True, exist_ok=True)))
    error = failure_of(publish)
    if error is not None and not isinstance(error, CheckpointError):
        error = CheckpointError(f"could not save {path}: {error}. What was saved before is intact")
    topology.raise_together(error)


def failure_of(action: Callable[[], object]) -> BaseException | None:
    """The error of writing that an action ended with; None if it did not."""
    try:
        action()
    except _FAILURES as error:
        return error
    return None


def save_hf(meta: SaveLoadMeta, model: PackedModel, topology: Topology) -> None:
    """Write a `from_pretrained` directory: weights in the compute dtype, configs and, if given, the tokenizer."""

    def write(folder: Path) -> None:
        # Leaving the iteration early (a full disk) still takes part in the gathers that the other ranks wait for.
        with closing(model.state_iter()) as items:
            if topology.rank == 0:
                write_weights(folder, items)
            else:
                for _ in items:
                    pass
        if topology.rank == 0:
            model.save_hf_configs(folder)
            if meta.tokenizer is not None:
                save_tokenizer(meta.tokenizer, folder)

    write_together(meta.path, topology, write)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Save a tokenizer and check that what was written splits text as the original does; `CheckpointError` if not."""
    tokenizer.save_pretrained(folder)
    probe = "Tom has 12 apples and buys 345 more.\n#### 357"
    written = load_hf_tokenizer(folder)
    if written(probe)["input_ids"] != tokenizer(probe)["input_ids"]:
        raise CheckpointError(
            f"the tokenizer written to {folder} splits {probe!r} differently from the one in memory "
            f"({type(written).__name__}, {type(tokenizer).__name__}); save it from its original directory"
        )


def save_sharded(path: str, state: dict[str, Any], topology: Topology) -> None:
    """Write a sharded checkpoint of a `sharded_state`."""

    def write(folder: Path) -> None:
        with single_process_is_fine():
            dcp.save(state, checkpoint_id=folder, no_dist=not dist.is_initialized())

    write_together(path, topology, write)


def sharded_state(
    meta: SaveLoadMeta, model: PackedModel, optimizers: OptimizerSet | None, version: int, topology: Topology
) -> dict[str, Any]:
    """What a sharded checkpoint holds, referring to the live tensors.

    With `meta.with_optim` also optimizer, LR step, version and random states.
    """
    state = _state_of(model, optimizers if meta.with_optim else None)
    if meta.with_optim and optimizers is not None:
        state["engine"] = {
            "version": version,
            "lr_step": optimizers.schedule.current_step,
            "num_skipped": optimizers.num_skipped,
        }
        state["rng"] = {f"rank{topology.rank}": _random_states()}
    return state


def load_sharded(
    meta: SaveLoadMeta, model: PackedModel, optimizers: OptimizerSet | None, topology: Topology
) -> int | None:
    """Read what `save_sharded` wrote, under any number of ranks; returns the version if the checkpoint has one.

    Random states continue exactly when the number of ranks is the same; further ranks are seeded anew, with a warning.
    """
    if not Path(meta.path, ".metadata").is_file():
        raise CheckpointError(f"expected a sharded checkpoint (with a .metadata file) in {meta.path}, found none")
    with_optim = meta.with_optim and optimizers is not None
    state = _state_of(model, optimizers if with_optim else None)
    rng_key = f"rank{topology.rank}"
    saved_keys = dcp.FileSystemReader(meta.path).read_metadata().state_dict_metadata.keys()
    if with_optim:
        if "engine.lr_step" not in saved_keys:
            raise CheckpointError(f"{meta.path} was saved without the optimizer; load it with with_optim=False")
        state["engine"] = {"version": 0, "lr_step": 0, "num_skipped": 0}
        if f"rng.{rng_key}.cpu" in saved_keys:
            state["rng"] = {rng_key: _random_states()}
    with single_process_is_fine():
        dcp.load(state, checkpoint_id=meta.path, no_dist=not dist.is_initialized())
    optimizer_list = optimizers.optimizers if with_optim and optimizers is not None else []
    set_state_dict(
        model.module,
        optimizer_list,
        model_state_dict=state["model"],
        optim_state_dict=state.get("optim", {}),
        options=_OPTIONS,
    )
    if not with_optim or optimizers is None:
        return None
    optimizers.schedule.current_step = state["engine"]["lr_step"]
    optimizers.num_skipped = state["engine"]["num_skipped"]
    optimizers.restore_settings()
    if "rng" in state:
        _restore_random_states(state["rng"][rng_key])
    else:
        logger.warning("%s holds no random state for rank %d: it was saved by fewer ranks", meta.path, topology.rank)
        torch.manual_seed(torch.initial_seed() + topology.rank)
    return int(state["engine"]["version"])


def _state_of(model: PackedModel, optimizers: OptimizerSet | None) -> dict[str, Any]:
    """State dicts by parameter name, referring to the live tensors."""
    if optimizers is None:
        return {"model": get_state_dict(model.module, [], options=_OPTIONS)[0]}
    unused = [optimizer for optimizer in optimizers.optimizers if not optimizer.state]
    model_state, optim_state = get_state_dict(model.module, optimizers.optimizers, options=_OPTIONS)
    # torch makes missing moments by a step without gradients, which must not count in Adam's bias correction.
    for optimizer in unused:
        for values in optimizer.state.values():
            if "step" in values:
                values["step"].zero_()
    return {"model": model_state, "optim": optim_state}


@contextmanager
def single_process_is_fine() -> Iterator[None]:
    """DCP warns in a process without a group, which is how a laptop trains."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _random_states() -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else states


def _restore_random_states(states: dict[str, torch.Tensor]) -> None:
    torch.set_rng_state(states["cpu"].cpu())
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu())
