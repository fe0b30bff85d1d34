# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Recovery checkpoints: everything a run needs to go on as if it had never stopped. Trainers own one `RecoverHandler`.

    recover/step_{n}/roles/<role>/...   what each role saved (model, optimizer, LR schedule, RNG)
    recover/step_{n}/state.json         step, versions, timers, statistics, data position, controller RNG, fingerprint
    recover/step_{n}/MANIFEST.json      size and CRC of every file, written last
    recover/LATEST                      the name to resume from, replaced in one step once step_{n} is complete

A kill at any point leaves LATEST on the old or on the new state. Loading checks the manifest and falls back to the
previous complete checkpoint, saying why. Nothing here knows how a role saves itself.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import random
import re
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from areal.utils.errors import CheckpointError, ConfigError
from areal.utils.fs import AtomicDirectory, prune, remove_tree, sweep, tree_bytes, write_text_atomic
from areal.utils.logging import getLogger
from areal.utils.names import checkpoint_root
from areal.utils.timeutil import EpochStepTimeFreqCtl

if TYPE_CHECKING:
    from areal.api.cli_args import RecoverConfig
    from areal.api.io_struct import FinetuneSpec, StepInfo

logger = getLogger("recover")

_FORMAT = 1  # raise it when an older reader would misread a checkpoint
_STEP_NAME = re.compile(r"step_(\d+)")
_FULL_CRC_BYTES = 64 * 2**20  # larger files: CRC of both ends only; their truncation shows in the size
_END_BYTES = 2**20
_HEADROOM = 1.02  # metadata grows a little from one checkpoint to the next

SaveState = Callable[[str], object]
"""`save_state(path)` writes a role's state into the directory or file `path`, which does not exist yet."""
LoadState = Callable[[str], object]
"""`load_state(path)` restores what `save_state` wrote, also under another number of ranks if the role can."""


class Stateful(Protocol):
    """A part of the controller with a small JSON-able state: saver, evaluator, statistics, sample loader."""

    def state_dict(self) -> Mapping[str, Any]:
        """Plain JSON values under string keys."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        ...


@dataclass(frozen=True, kw_only=True)
class RecoverInfo:
    """What was resumed: the fields of the last finished `StepInfo`, the versions by role, and why newer ones were skipped."""

    last_step_info: dict[str, int]
    versions: dict[str, int]
    path: Path
    skipped: tuple[str, ...] = ()

    @property
    def start_step(self) -> int:
        """The global step to train next."""
        return self.last_step_info["global_step"] + 1


def recover_root(config: RecoverConfig) -> Path:
    """Directory of the recovery checkpoints of a trial (not created)."""
    return checkpoint_root(config.fileroot, config.experiment_name, config.trial_name) / "recover"


def is_enabled(config: RecoverConfig) -> bool:
    """Whether the configuration asks for recovery checkpoints."""
    return config.mode in ("on", "auto")


def check_if_recover(config: RecoverConfig) -> bool:
    """Whether recovery is on and there is a complete checkpoint to resume from. Creates nothing."""
    return is_enabled(config) and any(_damage(path) is None for path in _candidates(recover_root(config)))


class RecoverHandler:
    """Dumps and loads the checkpoints of one trial.

    `fingerprint` holds what must agree between the run that dumped and the run that loads (model, dataset, seed, batch
    size: whatever would make a continuation silently wrong); a difference is a `ConfigError` naming both values.
    """

    def __init__(
        self, config: RecoverConfig, ft_spec: FinetuneSpec, fingerprint: Mapping[str, Any] | None = None
    ) -> None:
        self._config = config
        self._ft_spec = ft_spec
        self._fingerprint = dict(fingerprint or {})
        self._timer = EpochStepTimeFreqCtl(config.freq_epochs, config.freq_steps, config.freq_secs)
        self._root = recover_root(config)

    def dump(
        self,
        step_info: StepInfo,
        *,
        roles: Mapping[str, SaveState],
        parts: Mapping[str, Stateful],
        versions: Mapping[str, int],
        force: bool = False,
    ) -> Path | None:
        """Save the state after `step_info` if it is due (or `force`d); returns where, or None.

        Call it once a step. Every role in `roles` and every part in `parts` must be given to `load` again. Raises
        `CheckpointError` when the disk is full or a part's state is not plain JSON; the previous checkpoint is intact.
        """
        if not is_enabled(self._config):
            return None
        is_epoch_end = step_info.epoch_step == self._ft_spec.steps_per_epoch - 1
        due = self._timer.check(epochs=int(is_epoch_end), steps=1)
        if not due and not force:
            return None
        state = self._state(step_info, parts, versions)
        final = self._root / f"step_{step_info.global_step}"
        sweep(self._root)
        with AtomicDirectory(final, fsync=True, bytes_needed=self._bytes_needed()) as tmp:
            (tmp / "roles").mkdir(parents=True)
            for role, save_state in roles.items():
                save_state(str(tmp / "roles" / role))
            (tmp / "state.json").write_text(json.dumps(state | {"roles": sorted(roles)}, indent=1))
            (tmp / "MANIFEST.json").write_text(json.dumps({"format": _FORMAT, "files": _list_files(tmp)}, indent=1))
        write_text_atomic(self._root / "LATEST", final.name, fsync=True)
        prune([path for path in _candidates(self._root) if path != final], self._config.keep_last - 1)
        logger.info("saved the recovery checkpoint %s (%s bytes)", final, f"{tree_bytes(final):,}")
        return final

    def _state(self, step_info: StepInfo, parts: Mapping[str, Stateful], versions: Mapping[str, int]) -> dict[str, Any]:
        state = {
            "step_info": dataclasses.asdict(step_info),
            "versions": dict(versions),
            "fingerprint": self._fingerprint,
            "timer": self._timer.state_dict(),
            "rng": _rng_state(),
            "parts": {name: dict(part.state_dict()) for name, part in parts.items()},
        }
        _check_plain(state, "state")
        return state

    def _bytes_needed(self) -> int | None:
        previous = _candidates(self._root)
        return int(tree_bytes(previous[0]) * _HEADROOM) if previous else None

    def newest_step(self) -> int | None:
        """The step of the checkpoint that `load` would try first; None without checkpoints or when recovery is off."""
        candidates = _candidates(self._root) if is_enabled(self._config) else []
        return _step_of(candidates[0]) if candidates else None

    def load(self, *, roles: Mapping[str, LoadState], parts: Mapping[str, Stateful]) -> RecoverInfo | None:
        """Restore the newest complete checkpoint into `roles`, `parts` and the RNGs; None if there is none to resume.

        Frequencies are those of the present configuration; only their progress is restored. Checkpoints newer than the
        loaded one (damaged, or never published) are removed, since the run now writes these steps anew. Raises
        `ConfigError` if the fingerprint or the set of roles and parts differs.
        """
        if not is_enabled(self._config):
            return None
        path, skipped = self._choose()
        if path is None:
            if skipped:
                raise CheckpointError(f"no checkpoint in {self._root} can be used, so the run cannot resume: {skipped}")
            return None
        state = json.loads((path / "state.json").read_text())
        self._check_same_run(path, state, roles, parts)
        for role, load_state in roles.items():
            load_state(str(path / "roles" / role))
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        self._timer.load_state_dict(state["timer"])
        _restore_rng(state["rng"])
        for other in _candidates(self._root):
            if _step_of(other) > _step_of(path):
                remove_tree(other)
        write_text_atomic(self._root / "LATEST", path.name, fsync=True)
        logger.info("resumed from %s", path)
        return RecoverInfo(
            last_step_info=state["step_info"], versions=state["versions"], path=path, skipped=tuple(skipped)
        )

    def _choose(self) -> tuple[Path | None, list[str]]:
        """The checkpoint to load (LATEST, else the newest complete one), and why others were passed over."""
        skipped: list[str] = []
        for path in _candidates(self._root):
            damage = _damage(path)
            if damage is None:
                return path, skipped
            skipped.append(f"{path.name}: {damage}")
            logger.warning("cannot use the checkpoint %s (%s); falling back to the previous one", path, damage)
        return None, skipped

    def _check_same_run(
        self, path: Path, state: dict[str, Any], roles: Mapping[str, LoadState], parts: Mapping[str, Stateful]
    ) -> None:
        saved, ours = state["fingerprint"], json.loads(json.dumps(self._fingerprint))
        lines = [
            f"{key}: expected {saved.get(key)!r} (checkpoint), got {ours.get(key)!r} (this run)"
            for key in sorted(saved.keys() | ours.keys())
            if saved.get(key) != ours.get(key)
        ]
        for what, expected, got in (
            ("roles", set(state["roles"]), set(roles)),
            ("parts", set(state["parts"]), set(parts)),
        ):
            if expected != got:
                lines.append(f"{what}: expected {sorted(expected)} (checkpoint), got {sorted(got)} (this run)")
        if lines:
            raise ConfigError(
                f"the checkpoint {path} belongs to another run: {'; '.join(lines)}. Restore these settings, choose another "
                "trial_name, or remove the checkpoint"
            )


def _step_of(path: Path) -> int:
    match = _STEP_NAME.fullmatch(path.name)
    assert match is not None, f"{path} is no checkpoint directory"
    return int(match[1])


def _candidates(root: Path) -> list[Path]:
    """All checkpoint directories: the one LATEST names first, then by falling step."""
    if not root.is_dir():
        return []
    found = [path for path in root.iterdir() if _STEP_NAME.fullmatch(path.name)]
    latest = (root / "LATEST").read_text().strip() if (root / "LATEST").exists() else None
    return sorted(found, key=lambda path: (path.name == latest, _step_of(path)), reverse=True)


def _list_files(folder: Path) -> dict[str, list[int]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): [path.stat().st_size, _crc(path)] for path in files}


def _crc(path: Path) -> int:
    """CRC-32 of a file; of its first and last MiB if it is large."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size > _FULL_CRC_BYTES:
            head = file.read(_END_BYTES)
            file.seek(size - _END_BYTES)
            return zlib.crc32(file.read(_END_BYTES), zlib.crc32(head))
        crc = 0
        while chunk := file.read(_END_BYTES):
            crc = zlib.crc32(chunk, crc)
        return crc


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint directory, or None if it is complete."""
    try:
        manifest = json.loads((path / "MANIFEST.json").read_text())
        if manifest["format"] != _FORMAT:
            return (
                f"expected format {_FORMAT}, got {manifest['format']}; load it with the version of areal that wrote it"
            )
        for name, (size, crc) in manifest["files"].items():
            file = path / name
            if not file.exists():
                return f"{name} is missing"
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size} bytes, expected {size}"
            if _crc(file) != crc:
                return f"{name} has other content than was written"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its manifest cannot be read ({error!r})"
    return None


def _check_plain(value: Any, where: str) -> None:
    """Raise unless JSON gives the value back unchanged (a non-string key, say, would silently become a string)."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise CheckpointError(f"{where} has the key {key!r}; a state must have string keys only")
            _check_plain(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            _check_plain(item, f"{where}[{position}]")
    elif value is not None and type(value) not in (bool, int, float, str):
        raise CheckpointError(
            f"{where} is a {type(value).__name__}; a state holds numbers, strings, lists and mappings only"
        )


def _rng_state() -> dict[str, Any]:
    """The controller's global random states, of those libraries that are loaded."""
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {"python": [version, list(words), gauss]}
    if "numpy" in sys.modules:
        import numpy as np

        kind, keys, position, has_gauss, cached = np.random.get_state()
        state["numpy"] = [kind, [int(key) for key in keys], position, has_gauss, cached]
    if "torch" in sys.modules:
        import torch

        state["torch"] = base64.b64encode(torch.get_rng_state().numpy().tobytes()).decode()
    return state


def _restore_rng(state: dict[str, Any]) -> None:
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    if "numpy" in state:
        import numpy as np

        np.random.set_state(tuple(state["numpy"]))
    if "torch" in state:
        import torch

        raw = bytearray(base64.b64decode(state["torch"]))
        torch.set_rng_state(torch.frombuffer(raw, dtype=torch.uint8))
