"""The machine: its device, the precision to use there, its memory, and randomness that needs no replay."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import flue_bench
from flue_bench.errors import DeviceError, UsageError, short
from flue_bench.recipe import Precision
from flue_bench.record import Environment
from flue_bench.training.dropout import KeyedDropout
from flue_bench.training.waits import KnownMask

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "huggingface_hub")
DEVICES = "auto, cpu, cuda, cuda:N or mps"
LOW: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The type of matrix products in each precision."""
FIRST_WITH_FP16 = (7, 0)
"""Compute capability (V100) from which a GPU multiplies fp16 in tensor cores; bf16 begins at (8, 0)."""
TF32 = "products of float32 in TF32"
MIN_HIDDEN_FOR_CPU_BF16 = 256
"""Below this width the casts of autocast cost a CPU more than its faster products save."""
MAX_LENGTH_FOR_PLAIN_ATTENTION = 160
"""Up to about here plain products train faster than flash attention in bf16 on a CPU: see ``training`` below."""


@dataclass(frozen=True)
class Device:
    """The device that holds tensors, and the precision of its matrix products."""

    where: torch.device
    precision: Precision
    why: str
    """One line on what ``auto`` chose and why; empty where the user chose."""

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of matrix products."""
        return LOW[self.precision]

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return a context with matrix products in low precision over float32 weights, or one that does nothing."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.where.type, dtype=self.dtype)

    @contextlib.contextmanager
    def training(
        self, rows: int, length: int, seed: int, step: int, first: int, dropout: bool = True
    ) -> Iterator[None]:
        """Enter ``autocast`` for a forward pass that a backward pass follows, with dropout keyed by its position.

        On a CPU dropout is ``KeyedDropout``; elsewhere PyTorch's own, whose fused kernels cost little.

        Short rows on a CPU in bf16 do not use PyTorch's flash attention, which takes there up to three times as long as
        plain products (``results/performance/attention.md``). With dropout PyTorch never uses it: nothing changes.

        Args:
            rows: the rows of the pass.
            length: the length of a row, with padding.
            seed: the seed of the run.
            step: the optimiser step, from 0.
            first: number of the pass's first row among the rows of the step.
            dropout: False if there is none, which spares a small model the check of each operation.
        """
        seed_step(seed, step, first)
        cpu, plain = self.where.type == "cpu", contextlib.nullcontext()
        slow = cpu and self.precision == "bf16" and length <= MAX_LENGTH_FOR_PLAIN_ATTENTION
        keyed = KeyedDropout(seed, step, first, rows) if cpu and dropout else plain
        with sdpa_kernel(SDPBackend.MATH) if slow else plain, self.autocast(), keyed:
            yield

    @property
    def steps_ahead(self) -> int:
        """Return how many steps the processor may queue before it reads what an earlier one gave: none on a CPU."""
        return 0 if self.where.type == "cpu" else 1

    def running_ahead(self, mask: torch.Tensor, full: bool) -> contextlib.AbstractContextManager[object]:
        """Keep a forward pass from waiting for a device that is behind the processor; does nothing on a CPU.

        Args:
            mask: (rows, longest), the batch's attention mask.
            full: whether no row of the batch has padding.
        """
        return contextlib.nullcontext() if self.where.type == "cpu" else KnownMask(mask, full)

    @property
    def name(self) -> str:
        """Return the hardware's name, as the record keeps it."""
        if self.where.type == "cuda":
            return torch.cuda.get_device_name(self.where)
        return f"{_cpu_name()} ({self.untested})" if self.untested else _cpu_name()

    @property
    def untested(self) -> str:
        """Return a warning for a device on which flue-bench's tests have never run; empty for the others."""
        return "mps: not tested by us" if self.where.type == "mps" else ""

    def synchronize(self) -> None:
        """Wait until the device has finished its queue; call it before reading a clock."""
        if self.where.type == "cuda":
            torch.cuda.synchronize(self.where)
        elif self.where.type == "mps":
            torch.mps.synchronize()


def pick_device(asked: str) -> torch.device:
    """Return the device that was asked for; ``auto`` is the first CUDA device or the CPU, never mps.

    Raises:
        DeviceError: this machine has no such device.
    """
    if asked == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise DeviceError(f"Unknown device '{asked}': use {DEVICES}.") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"Device '{asked}' is not supported: use {DEVICES}.")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(
                f"--device {asked}: PyTorch {torch.__version__} finds no CUDA device on this machine. "
                "Use --device cpu, or install a CUDA build of torch."
            )
        if (device.index or 0) >= torch.cuda.device_count():
            raise DeviceError(f"--device {asked}: this machine has {torch.cuda.device_count()} CUDA device(s), from 0.")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError(
                f"--device {asked}: PyTorch {torch.__version__} finds no MPS device, which is a Mac's GPU. "
                "Use --device cpu."
            )
        return torch.device("mps")
    return device


def prepare(device: torch.device, asked: str, hidden_size: int) -> Device:
    """Choose the precision for a model of this width: a pure function of hardware and width, never of a timing.

    Raises:
        DeviceError: bf16 or fp16 was asked for where the device does not have it.
        UsageError: there is no such precision.
    """
    best: Precision = "bf16"
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        has_fp16 = has_bf16 or torch.cuda.get_device_capability(device) >= FIRST_WITH_FP16
        gains, because = has_bf16, "the GPU multiplies bf16 natively"
        if not has_bf16:
            best, gains = "fp16", has_fp16
            because = f"the GPU has no native bf16{', but fp16' if has_fp16 else ' and no fast fp16'}"
    elif device.type == "mps":
        has_bf16 = has_fp16 = gains = False
        because = "on mps nothing else is offered"
    else:
        has_bf16 = has_fp16 = True  # every CPU can emulate them, with or without a gain
        can = torch.cpu.get_capabilities()
        # Intel's avx512_bf16 multiplies at half of its rate in float32, AMD's at twice that, AMX at several times it.
        halved = "Intel" in str(can.get("cpu_name", "")) and not can.get("amx_bf16")
        native = bool(can.get("avx512_bf16") or can.get("amx_bf16"))
        gains = native and not halved and hidden_size >= MIN_HIDDEN_FOR_CPU_BF16
        because = (
            "the CPU has no avx512_bf16 or amx_bf16"
            if not native
            else "an Intel CPU without amx_bf16 multiplies faster in fp32"
            if halved
            else f"the CPU has native bf16 and the model is wide ({hidden_size}) enough to gain"
            if gains
            else f"the CPU has native bf16 but the model is too narrow ({hidden_size}) to gain"
        )
    if asked == "auto":
        chosen: Precision = best if gains else "fp32"
        return Device(device, chosen, f"precision auto chose {chosen}: {because}")
    if (asked == "bf16" and not has_bf16) or (asked == "fp16" and not has_fp16):
        reason = "mps computes in fp32 only" if device.type == "mps" else f"this GPU has no native {asked}"
        raise DeviceError(f"--precision {asked}: {reason}; use --precision fp32.")
    return Device(device, known(asked), "")


def known(asked: str) -> Precision:
    """Return a precision by its name.

    Raises:
        UsageError: there is none of that name.
    """
    if asked not in LOW:
        raise UsageError(f"--precision {short(asked, 80)}: auto, fp32, bf16 or fp16.")
    return asked


def check_compiler(asked: str, device: torch.device) -> None:
    """Refuse ``torch.compile`` where it is of no use or finds no compiler, before anything is computed.

    Args:
        asked: what the user said.
        device: where it would run.

    Raises:
        UsageError: the device is no GPU. On a CPU dropout is ours, which nothing compiles.
        DeviceError: there is no compiler of C, which Triton calls.
    """
    if device.type != "cuda":
        raise UsageError(f"{asked}: only on a GPU, and the device is {device.type}: leave {asked} out.")
    names = [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang"]
    if not any(map(shutil.which, names)):
        raise DeviceError(
            f"{asked}: torch.compile needs a C compiler, and PATH holds no {' or '.join(names)}. Install gcc, name "
            f"yours in the variable CC, or leave {asked} out."
        )


@contextlib.contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Give PyTorch's generators their states back after a block that seeds them: they are the caller's.

    Args:
        device: where the block computes.
    """
    if device.type == "cuda":
        torch.cuda.init()  # otherwise the caller's own seeds, still to be applied then, would be lost
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    mps = torch.mps.get_rng_state() if device.type == "mps" else None
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            if mps is not None:
                torch.mps.set_rng_state(mps)


def seed_step(seed: int, step: int, first: int = 0) -> None:
    """Seed PyTorch for a pass of a step, by the number of its first row: resuming needs no generator state."""
    torch.manual_seed(((seed * 1_000_003 + step) * 1_000_033 + first) % 2**63)


def reset_peak_memory(device: torch.device) -> None:
    """Reset the device's peak-memory counter, if it has one."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int:
    """Return peak memory in bytes: on CUDA allocated since the last reset, elsewhere resident in the process.

    0 where the system reports neither: Windows has no ``resource``.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with contextlib.suppress(OSError, StopIteration, ValueError):
        # Not ru_maxrss, which on Linux a process inherits from its parent.
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) * 1024
    try:
        import resource  # POSIX only
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def environment(device: Device, notes: tuple[str, ...] = ()) -> Environment:
    """Return what the record says about this machine and the installed versions."""
    commit, dirty = _checkout()
    return Environment(
        flue_bench=flue_bench.__version__,
        commit=commit,
        dirty=dirty,
        packages={name: number for name in PACKAGES if (number := _version(name))},
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        device=device.name,
        threads=torch.get_num_threads(),
        # Sums on a GPU are atomics in arbitrary order unless deterministic algorithms are requested.
        deterministic=device.where.type == "cpu" or torch.are_deterministic_algorithms_enabled(),
        notes=(*([device.why] if device.why else []), *([TF32] if _tf32(device) else []), *notes),
    )


def versions() -> dict[str, str]:
    """Return what of ``environment`` says which code computes: versions of packages, and the commit of a checkout."""
    commit, _ = _checkout()
    said = {"flue-bench": flue_bench.__version__, **({"commit": commit[:12]} if commit else {})}
    return said | {name: number for name in PACKAGES if (number := _version(name))}


def _tf32(device: Device) -> bool:
    """Return whether float32 products are rounded to TF32, which whoever started Python may have switched on."""
    return device.where.type == "cuda" and torch.get_float32_matmul_precision() != "highest"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _checkout() -> tuple[str | None, bool | None]:
    """Return the commit of flue-bench's checkout, and whether it has changes; None for an installed wheel."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None, None

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout

    try:
        return git("rev-parse", "HEAD").strip(), bool(git("status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None, None
