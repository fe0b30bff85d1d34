# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Releases as source folders: fetched as wheels without dependencies, unpacked without binaries, kept in a cache.

Called by the audit. The cache is `$AREAL_API_CACHE`, else `$XDG_CACHE_HOME/areal/wheels`. Nothing is ever installed or
imported; every failure to get sources is `SourcesUnavailable`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from areal.harness.apiaudit.errors import SourcesUnavailable
from areal.harness.apiaudit.library.sources import COMPILED_LIST, Sources
from areal.harness.apiaudit.packages import Package

DOWNLOAD_TIMEOUT_S = 600
"""The largest wheels are half a gigabyte."""
_KEPT_SUFFIXES = (".py", ".pyi")
_KEPT_NAMES = ("METADATA", "PKG-INFO", "entry_points.txt")
_BASES = (
    "torch",
    "transformers",
    "huggingface_hub",
    "accelerate",
    "pydantic",
    "tokenizers",
    "fsspec",
    "starlette",
    "fastapi",
)
"""Distributions that classes of the focused packages derive from."""
_LAYOUT = 1
"""Of the unpacked folders; raised when what is kept changes."""


@dataclass(frozen=True)
class Release:
    """An unpacked release: its folder, version, and the checksum that identifies it."""

    package: str
    version: str
    folder: Path
    sha256: str
    tops: tuple[str, ...] | None = None

    def sources(self) -> Sources:
        """A fresh index of its modules."""
        return Sources(self.folder, self.tops)


def cache_folder() -> Path:
    """Where unpacked releases are kept."""
    chosen = os.environ.get("AREAL_API_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(chosen) if chosen else Path(base) / "areal" / "wheels"


def fetch(package: Package, version: str) -> Release:
    """A release from the cache, or from the package registry through pip."""
    reasons = []
    for name in (package.name, *package.stand_ins):
        known = _cached(name, version)
        if known is not None:
            return known
    for name in (package.name, *package.stand_ins):
        try:
            return _download(name, version)
        except SourcesUnavailable as error:
            reasons.append(error.message)
    raise SourcesUnavailable(
        f"{package.name}=={version} cannot be fetched: {'; '.join(reasons)}",
        code="wheel_unavailable",
        next_action=f"areal api audit {package.name}=={version} --wheel PATH",
    )


def installed(package: Package) -> Release:
    """The release installed in this environment, read where it lies."""
    for name in (package.name, *package.stand_ins):
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        tops = tuple(sorted({prefix.split(".")[0] for prefix in package.imports}))
        folder = Path(str(found.locate_file("")))
        return Release(name, found.version, folder, f"installed:{found.version}", tops)
    raise SourcesUnavailable(f"{package.name} is not installed", code="not_installed")


def from_path(path: Path, version: str = "") -> Release:
    """A release from a wheel, a source archive or an unpacked folder on disk; never what `fetch` gives for its version."""
    if path.is_dir():
        _require_sources(path, str(path))
        return Release(path.name, version or "unpacked", path, f"folder:{path}")
    if not path.is_file():
        raise SourcesUnavailable(f"{path} does not exist", code="wheel_unavailable")
    name, _, rest = path.name.partition("-")
    return _unpack(path, name.replace("_", "-").lower(), version or rest.split("-")[0])


def environment() -> Sources | None:
    """The packages installed beside this one, for base classes from other distributions."""
    folders = [Path(entry) for entry in sys.path if entry.endswith("site-packages") and Path(entry).is_dir()]
    return Sources(folders[0], _around(folders[0])) if folders else None


def _around(folder: Path) -> list[str]:
    return [name for name in _BASES if (folder / name).is_dir()]


def _cached(name: str, version: str) -> Release | None:
    entry = cache_folder() / "index" / f"{name}-{version}.json"
    if not entry.is_file():
        return None
    try:
        known = json.loads(entry.read_text(encoding="utf-8"))
        folder = cache_folder() / known["sha256"]
    except (json.JSONDecodeError, KeyError):
        return None
    if known.get("layout") != _LAYOUT or not folder.is_dir():
        return None
    return Release(name, version, folder, known["sha256"])


def _download(name: str, version: str) -> Release:
    with tempfile.TemporaryDirectory(prefix="areal-wheel-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
        command += ["--only-binary=:all:", "--dest", folder, f"{name}=={version}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise SourcesUnavailable(f"{name}: no answer within {DOWNLOAD_TIMEOUT_S} s", code="timeout") from None
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise SourcesUnavailable(f"{name}: {_reason(done.stderr)}", code="wheel_unavailable")
        release = _unpack(wheels[0], name, version)
        index = cache_folder() / "index"
        index.mkdir(exist_ok=True)
        entry = json.dumps({"sha256": release.sha256, "layout": _LAYOUT})
        (index / f"{name}-{version}.json").write_text(entry + "\n", encoding="utf-8")
        return release


def _reason(stderr: str) -> str:
    """pip's last error line without addresses."""
    lines = [line for line in stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no wheel"]
    return re.sub(r"\S+://\S+", "<address>", lines[-1].removeprefix("ERROR: "))[:200]


def _unpack(archive: Path, name: str, version: str) -> Release:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    folder = cache_folder() / digest
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="unpacking-", dir=folder.parent))
        try:
            _extract(archive, scratch)
            _require_sources(scratch, f"{name}=={version}")
            if not folder.is_dir():
                scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return Release(name, version, folder, digest)


def _extract(archive: Path, folder: Path) -> None:
    compiled = []
    try:
        for name, data in _members(archive):
            if name.endswith((".so", ".pyd")):
                compiled.append(name.rpartition("/")[0].replace("/", ".") + "." + name.rpartition("/")[2].split(".")[0])
            elif name.endswith(_KEPT_SUFFIXES) or name.rpartition("/")[2] in _KEPT_NAMES:
                target = folder / name
                if not target.resolve().is_relative_to(folder.resolve()):
                    raise SourcesUnavailable(f"{archive.name} holds a path outside of it: {name}", code="bad_archive")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data())
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise SourcesUnavailable(f"{archive.name} is not a readable archive: {error}", code="bad_archive") from None
    (folder / COMPILED_LIST).write_text("\n".join(sorted(m.lstrip(".") for m in compiled)) + "\n", encoding="utf-8")


def _members(archive: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Names and readers of the files of a wheel, or of a source archive without its top folder."""
    if archive.name.endswith((".tar.gz", ".tgz")):
        with tarfile.open(archive) as tar:
            for member in tar:
                inner = member.name.partition("/")[2].removeprefix("src/")
                handle = tar.extractfile(member) if member.isfile() else None
                if inner and handle is not None:
                    yield inner, handle.read
        return
    with zipfile.ZipFile(archive) as wheel:
        for info in wheel.infolist():
            if not info.is_dir():
                yield info.filename, lambda info=info: wheel.read(info)


def _require_sources(folder: Path, name: str) -> None:
    if not any(path for path in folder.rglob("*.py")):
        message = f"{name} holds no Python sources (only compiled modules): it cannot be audited"
        raise SourcesUnavailable(message, code="no_sources")
