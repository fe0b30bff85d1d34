# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rows about the machine: devices, memory, disks, ports, limits, programs. Everything that may hang has a deadline."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from areal.harness.doctor.rows import Row, State
from areal.utils.network import DEFAULT_PORT_RANGE, get_loopback_ip

GIB = 1024**3
MIN_DISK_GIB = 10  # weights of a 1 B model with optimizer state, and one checkpoint
MIN_TEMP_GIB = 1
MIN_MEMORY_GIB = 4  # the demo's three processes with torch in each
MIN_SHM_GIB = 0.25
MIN_FILES = 4096  # sockets of a few hundred episodes in flight
PROBE_DEADLINE_S = 120  # importing torch from a cold network disk, and starting the driver
TORCH_PROBE = """
import json, torch
import torch.distributed as dist
devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
print(json.dumps({
    "version": torch.__version__, "cuda": torch.version.cuda, "devices": devices,
    "names": [torch.cuda.get_device_name(i) for i in range(devices)],
    "gloo": dist.is_gloo_available(), "nccl": dist.is_nccl_available(),
}))
"""


def device_rows(deadline_s: float = PROBE_DEADLINE_S) -> Iterator[Row]:
    """The driver's devices, and what torch makes of them in a process of its own (a driver can hang)."""
    driver = _run(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"], 30)
    cards = [line.strip() for line in (driver or "").splitlines() if line.strip()]
    if cards:
        yield Row("devices", "driver", State.OK, f"{len(cards)} x {cards[0]}")
    else:
        yield Row("devices", "driver", State.OFF, "no NVIDIA driver answers; everything runs on the CPU")
    output = _run([sys.executable, "-c", TORCH_PROBE], deadline_s)
    reinstall = "python -m pip install --force-reinstall 'torch>=2.11,<2.14'"
    if output is None:
        found = f"torch cannot be imported, or hangs for {deadline_s:g} s"
        yield Row("devices", "torch", State.BAD, found, f"{sys.executable} -X faulthandler -c 'import torch'")
        return
    yield from torch_rows(json.loads(output.splitlines()[-1]), len(cards), reinstall)


def torch_rows(probe: Mapping[str, object], num_cards: int, reinstall: str) -> Iterator[Row]:
    """What the probe printed."""
    devices = int(str(probe["devices"]))
    found = f"torch {probe['version']}, " + (
        f"CUDA {probe['cuda']}, {devices} devices" if probe["cuda"] else "built for the CPU"
    )
    mismatch = num_cards > 0 and devices != num_cards
    yield Row(
        "devices", "torch", State.WARN if mismatch else State.OK, found, f"echo $CUDA_VISIBLE_DEVICES; {reinstall}"
    )
    if not probe["gloo"]:
        yield Row("devices", "gloo", State.BAD, "torch has no gloo", reinstall)
    if devices:
        state = State.OK if probe["nccl"] else State.BAD
        yield Row("devices", "nccl", state, "available" if probe["nccl"] else "torch has no NCCL", reinstall)


def memory_rows() -> Iterator[Row]:
    """Cores, threads, memory and shared memory."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS")
    state = State.OK if threads else State.WARN
    found = (
        f"OMP_NUM_THREADS={threads}, {cores} cores"
        if threads
        else f"OMP_NUM_THREADS is not set: each process starts {cores} threads"
    )
    yield Row("cpu", "threads", state, found, "export OMP_NUM_THREADS=1")
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024 / GIB
        state = State.OK if free >= MIN_MEMORY_GIB else State.WARN
        yield Row("memory", "available", state, f"{free:.1f} GiB (wants {MIN_MEMORY_GIB})", "ps aux --sort=-rss | head")
    if Path("/dev/shm").is_dir():
        free = shutil.disk_usage("/dev/shm").free / GIB
        state = State.OK if free >= MIN_SHM_GIB else State.WARN
        mend = "mount -o remount,size=2G /dev/shm  # in a container: docker run --shm-size=2g"
        yield Row("memory", "/dev/shm", state, f"{free:.1f} GiB free (wants {MIN_SHM_GIB})", mend)


def disk_rows(folder: Path) -> Iterator[Row]:
    """Where runs, temporary files and the hub's cache are written."""
    cache = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    places = (
        ("runs", folder, MIN_DISK_GIB),
        ("temporary", Path(tempfile.gettempdir()), MIN_TEMP_GIB),
        ("hub cache", cache, MIN_DISK_GIB),
    )
    for name, place, wanted in places:
        existing = next(path for path in (place, *place.parents) if path.exists())
        if not os.access(existing, os.W_OK):
            yield Row("disk", name, State.BAD, f"{existing} cannot be written", f"ls -ld {existing}")
            continue
        free = shutil.disk_usage(existing).free / GIB
        state = State.OK if free >= wanted else State.WARN
        yield Row(
            "disk",
            name,
            state,
            f"{free:.0f} GiB free at {place} (wants {wanted})",
            f"du -xh --max-depth=2 {existing} | sort -h | tail",
        )


def network_rows() -> Iterator[Row]:
    """Ports on the loopback, the host's own name, and open files."""
    loopback = get_loopback_ip()
    family = socket.AF_INET6 if ":" in loopback else socket.AF_INET
    try:
        with socket.socket(family) as server:
            server.bind((loopback, 0))
            server.listen()
            with socket.create_connection((loopback, server.getsockname()[1]), timeout=5):
                yield Row("ports", "loopback", State.OK, f"{loopback} accepts connections")
    except OSError as error:
        yield Row("ports", "loopback", State.BAD, f"{loopback}: {error}", "ip link set lo up")
    taken = sum(_is_taken(loopback, port) for port in range(DEFAULT_PORT_RANGE[0], DEFAULT_PORT_RANGE[0] + 100))
    found = f"{100 - taken} of the first 100 ports from {DEFAULT_PORT_RANGE[0]} are free"
    yield Row("ports", "range", State.OK if taken < 50 else State.WARN, found, "ss -tlnp")
    name = socket.gethostname()
    try:
        yield Row("ports", "host name", State.OK, f"{name} is {socket.gethostbyname(name)}")
    except OSError as error:
        mend = "export GLOO_SOCKET_IFNAME=lo NCCL_SOCKET_IFNAME=lo"
        yield Row("ports", "host name", State.WARN, f"{name} does not resolve ({error})", mend)
    if sys.platform != "win32":
        import resource

        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        yield Row(
            "limits",
            "open files",
            State.OK if soft >= MIN_FILES else State.WARN,
            f"{soft} (wants {MIN_FILES})",
            f"ulimit -n {MIN_FILES}",
        )


def _is_taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def program_rows() -> Iterator[Row]:
    """Programs that some commands need."""
    needs = (
        ("git", "areal review, skill, pr", "apt-get install git", State.WARN),
        ("uv", "areal deps upgrade", "python -m pip install uv", State.OFF),
        ("gh", "areal pr --open", "apt-get install gh", State.OFF),
    )
    for name, used_by, mend, missing in needs:
        path = _program_beside_python(name) or shutil.which(name)
        yield Row("programs", name, State.OK if path else missing, path or f"not found ({used_by})", mend)


def _program_beside_python(name: str) -> str:
    """Where a package of this environment put a program, which need not be on PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.is_file() else ""


def _run(command: list[str], deadline_s: float) -> str | None:
    """The output of a program that must end in time; None when it does not, fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=deadline_s, check=False)
    except (FileNotFoundError, PermissionError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
