"""Checks that this machine has what a run needs: versions, device, folders, hub; with advice where it has not.

Torch is imported by the check that needs it, so that a broken installation is a finding and not a traceback.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants

import flue_bench
from flue_bench import files
from flue_bench.data import hub, registry, sources
from flue_bench.errors import FlueBenchError
from flue_bench.locks import Lock
from flue_bench.plugins import Finding

LITTLE, TOO_LITTLE = 5e9, 2e8
"""Free bytes on a disk: a base-size model, FLUE's data and some checkpoints need about the first."""
SIZE_SECONDS = 2.0
"""The time limit for adding up the sizes of a folder's files."""
BASE_WIDTH = 768
"""Hidden size of a base model, for which the precision is reported."""


def examine(results: Path) -> Iterator[Finding]:
    """Yield all findings, the slow ones last.

    Args:
        results: the folder for records.
    """
    yield Finding("ok", "flue-bench", f"{flue_bench.__version__}, Python {platform.python_version()}")
    yield _packages()
    yield _tasks()
    yield from _machine()
    offline = huggingface_hub.is_offline_mode()
    yield _folder("HF_HOME", Path(constants.HF_HOME), "HF_HOME", may_be_read_only=offline)
    yield _folder("FLUE_BENCH_CACHE", files.cache_dir(), "FLUE_BENCH_CACHE", may_be_read_only=offline)
    if own := os.environ.get("HF_HUB_CACHE"):
        yield _folder("HF_HUB_CACHE", Path(own), "HF_HUB_CACHE", may_be_read_only=offline)
    if own := os.environ.get("FLUE_BENCH_DATA"):
        there = Path(own).is_dir()
        advice = "" if there else "Make the folder, or unset FLUE_BENCH_DATA."
        yield Finding(
            "ok" if there else "problem", "FLUE_BENCH_DATA", own if there else f"{own}: no such folder", advice
        )
    yield from _data()
    yield (folder := _folder("results", results, "--results", may_be_read_only=False))
    if folder.state != "problem":
        yield from _sharing(_nearest(results))
    yield _hub(offline)
    yield _token()


def _packages() -> Finding:
    """Check flue-bench's requirements, without extras."""
    numbers: dict[str, str] = {}
    missing = []
    for requirement in requires("flue-bench") or ():
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        if "extra ==" not in requirement:
            try:
                numbers[name] = version(name)
            except PackageNotFoundError:
                missing.append(name)
    listed = ", ".join(f"{name} {number}" for name, number in sorted(numbers.items(), key=lambda item: item[0].lower()))
    if missing:
        return Finding("problem", "packages", f"missing: {', '.join(missing)}", "Install flue-bench again.")
    return Finding("ok", "packages", listed)


def _tasks() -> Finding:
    try:
        return Finding("ok", "tasks", f"{len(registry.registered())}, all of them valid")
    except FlueBenchError as error:
        return Finding("problem", "tasks", str(error))


def _data() -> Iterator[Finding]:
    """Report which tasks' data are on this machine, and which must be requested; contacts no server."""
    own = os.environ.get("FLUE_BENCH_DATA")
    folder = files.at_home(own) if own and files.at_home(own).is_dir() else None
    here, fetched, asked = [], [], defaultdict[str, list[str]](list)
    try:
        for name, each in registry.registered().items():
            if not (why := sources.lacking(each, data_dir=folder, offline=True)):
                here.append(name)
            elif any(source.access for source in each.task.source):
                asked[why.partition("\n")[0]].append(name)
            else:
                fetched.append(name)
    except FlueBenchError:  # already reported by ``_tasks``
        return
    there = f"on this machine: {', '.join(here)}" if here else "none on this machine"
    yield Finding("ok", "data", there + (f"; downloaded when needed: {', '.join(fetched)}" if fetched else ""))
    for advice, names in asked.items():
        yield Finding("note", "data on request", ", ".join(names), advice)


def _machine() -> Iterator[Finding]:
    """Report device, precision and threads."""
    try:
        import torch

        from flue_bench.training.device import pick_device, prepare
    except (ImportError, OSError) as error:
        fault = f"cannot be imported: {str(error).partition(chr(10))[0]}"
        yield Finding("problem", "torch", fault, "Install torch again; see docs/get-started.md.")
        return
    device = prepare(pick_device("auto"), "auto", BASE_WIDTH)
    if device.where.type == "cuda":
        memory = torch.cuda.get_device_properties(device.where).total_memory
        yield Finding("ok", "device", f"{device.name}, {_bytes(memory)} ({torch.cuda.device_count()} in all)")
    elif shutil.which("nvidia-smi"):
        advice = "There is a driver: install a CUDA build of torch, or look at CUDA_VISIBLE_DEVICES."
        yield Finding("note", "device", f"{device.name}; PyTorch {torch.__version__} finds no GPU", advice)
    else:
        yield Finding("ok", "device", f"{device.name} (no GPU)")
    yield Finding("ok", "precision", device.why.removeprefix("precision auto chose "))

    threads = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads > cores:
        advice = f"Set OMP_NUM_THREADS={cores}: more threads than cores wait for one another."
        yield Finding("note", "threads", f"{threads} on {cores} cores", advice)
    else:
        yield Finding("ok", "threads", f"{threads} on {cores} cores")


def _folder(what: str, folder: Path, setting: str, *, may_be_read_only: bool) -> Finding:
    """Check that a folder exists or can be made, is writable, and has room."""
    folder = files.at_home(folder).absolute()
    there = _nearest(folder)
    elsewhere = f"Give another folder: {setting}."
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        state = f"{folder}: cannot be written ({error.strerror})"
        if may_be_read_only and os.path.isdir(folder):
            return Finding("note", what, state, "Enough to read what is cached, while the network is switched off.")
        return Finding("problem", what, state, elsewhere)
    state = f"{folder}, {_size(folder) if there == folder else 'not there yet'}, {_bytes(free)} free"
    if free < TOO_LITTLE:
        return Finding("problem", what, state, f"Free some space. {elsewhere}")
    if free < LITTLE:
        return Finding("note", what, state, f"A base-size model with FLUE's data needs about {_bytes(LITTLE)}.")
    return Finding("ok", what, state)


def _nearest(folder: Path) -> Path:
    """Return the folder, or its nearest existing parent."""
    folder = files.at_home(folder).absolute()
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))


def _sharing(folder: Path) -> Iterator[Finding]:
    """Check the renames and locks that keep records whole and processes apart."""
    with tempfile.TemporaryDirectory(prefix=".flue-bench-doctor-", dir=folder) as scratch:
        yield _renames(Path(scratch))
        yield _locks(Path(scratch))


def _renames(scratch: Path) -> Finding:
    """Check renames: every file is written under another name, then renamed."""
    old, new = scratch / "old", scratch / "new"
    try:
        old.write_text("old")
        new.write_text("new")
        os.replace(new, old)
        replaced = old.read_text() == "new" and not new.exists()
    except OSError as error:
        fault = f"a file cannot be renamed over another ({error.strerror}): no record can be written"
        return Finding("problem", "renames", fault, "Give another folder: --results.")
    if not replaced:
        fault = "a renamed file does not replace the other"
        return Finding("problem", "renames", fault, "Give another folder: --results.")
    return Finding("ok", "renames", "a renamed file replaces another in one step")


OTHER = """
import sys
from pathlib import Path
from filelock import Timeout
from flue_bench.locks import Lock
try:
    Lock(Path(sys.argv[1])).acquire(blocking=False)
except Timeout:
    print("busy")
else:
    print("taken")
"""
"""The program of another process, which tries to take a lock."""
SHARED = ("9p", "afs", "beegfs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3")
"""File systems shared by machines. BeeGFS and Lustre may keep locks per machine, without saying so."""


def _locks(scratch: Path) -> Finding:
    """Check that locks of two processes exclude each other: a cell is locked while it runs."""
    path = scratch / "lock"
    alone = "Start one flue-bench at a time on this folder, or give another: --results."

    def other() -> str:
        command = [sys.executable, "-c", OTHER, str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.strip()

    lock = Lock(path)
    try:
        lock.acquire(blocking=False)
        if lock.missing:
            return Finding("note", "locks", f"none on this file system ({lock.missing})", alone)
        held = other()
        lock.release()
        released = other()
    except (FlueBenchError, OSError, subprocess.TimeoutExpired) as error:
        return Finding("problem", "locks", f"cannot be tested: {str(error).splitlines()[0]}", alone)
    if (held, released) != ("busy", "taken"):
        fault = "two processes held one lock" if held == "taken" else "a released lock cannot be taken again"
        return Finding("problem", "locks", fault, alone)
    kind = _file_system(scratch)
    if kind not in SHARED:
        return Finding("ok", "locks", "two processes exclude each other")
    return Finding(
        "note",
        "locks",
        f"two processes of this machine exclude each other; whether two machines do on {kind} cannot be seen from one",
        "Where machines share the folder, give each its own cells or its own --results: merging two is a copy.",
    )


def _file_system(folder: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Return Linux's name of the type of a folder's file system; empty if it is unknown."""
    real, kinds = Path(os.path.realpath(folder)), dict[Path, str]()
    with suppress(OSError):
        for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
            _, point, kind, *_ = line.split(" ")  # a later mount hides an earlier one at the same place
            kinds[Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point))] = kind
    return next((kinds[path] for path in (real, *real.parents) if path in kinds), "")


def _size(folder: Path) -> str:
    """Return the size of all files, links not followed, as far as ``SIZE_SECONDS`` allow."""
    until, total = time.monotonic() + SIZE_SECONDS, 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:  # removed meanwhile
                continue
        if time.monotonic() > until:
            return f"over {_bytes(total)}"
    return _bytes(total)


def _hub(offline: bool) -> Finding:
    if offline:
        return Finding(
            "note", "hub", "switched off by HF_HUB_OFFLINE", "What is not cached cannot be fetched; unset it."
        )
    endpoint = hub.endpoint()
    if not (reason := hub.silence()):
        return Finding("ok", "hub", f"{endpoint} answers")
    advice = (
        "Check the network, https_proxy, HF_ENDPOINT; or fill the caches elsewhere (docs/offline-clusters.md). "
        "`make run` needs none."
    )
    return Finding("note", "hub", f"{endpoint} is out of reach ({reason})", advice)


def _token() -> Finding:
    """Report whether there is a token, never its value."""
    try:
        token = huggingface_hub.get_token()
    except OSError as error:
        return Finding("note", "hub token", f"cannot be read ({error.strerror})", "Look at HF_HOME, HF_TOKEN_PATH.")
    return Finding("ok", "hub token", "present" if token else "none; only private and gated repositories need one")


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.1f} GB"
