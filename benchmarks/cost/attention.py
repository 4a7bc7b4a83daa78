"""From which length on is flash attention faster in bf16 training on a CPU? One layer, forward and backward.

    python -m benchmarks.cost.attention [--rounds 9]

Both kernels take turns on the same tensors, without dropout (with it PyTorch takes plain products by itself). The share
of the peak is that of the seconds which the same matrix products take alone, in the same minutes. Written to
``results/performance`` as attention.md and attention.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.common import paired, report
from flue_bench.training.device import MAX_LENGTH_FOR_PLAIN_ATTENTION, pick_device, prepare
from flue_bench.training.peak import Products, product_seconds

LENGTHS = (16, 32, 64, 128, 192, 256, 384, 512)
SHAPES = tuple((4096 // length, heads, length, 64) for length in LENGTHS for heads in (4, 12))
"""(batch, heads, length, width of a head)."""
KERNELS = {"flash": SDPBackend.FLASH_ATTENTION, "plain": SDPBackend.MATH}


def seconds(tensors: list[torch.Tensor], gradient: torch.Tensor, kernel: SDPBackend) -> float:
    """Return the seconds of one forward and backward pass."""
    query, key, value = tensors
    began = time.perf_counter()
    with sdpa_kernel(kernel):
        out = F.scaled_dot_product_attention(query, key, value)
    out.backward(gradient)
    return time.perf_counter() - began


def main() -> None:
    """Write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("results/performance"))
    arguments = parser.parse_args()

    rows, measured = [], []
    machine = prepare(pick_device("cpu"), "bf16", 0)
    for shape in SHAPES:
        for precision in (torch.bfloat16, torch.float32):
            tensors = [torch.randn(shape, dtype=precision, requires_grad=True) for _ in range(3)]
            gradient = torch.randn(shape, dtype=precision)
            taken: dict[str, list[float]] = {name: [] for name in KERNELS}
            for _ in range(arguments.rounds + 1):
                for name, kernel in KERNELS.items():
                    taken[name].append(seconds(tensors, gradient, kernel))
            taken = {name: each[1:] for name, each in taken.items()}  # the first warms up
            ratio = paired.ratios(taken["flash"], taken["plain"])
            with Products() as products:
                seconds(tensors, gradient, KERNELS["plain"])
            alone = product_seconds(products, machine)
            short = str(precision).removeprefix("torch.")
            measured.append({"shape": shape, "precision": short, "seconds": taken, "products": alone})
            shares = [f"{alone / median(each):.0%}" for each in taken.values()]
            rows.append([" x ".join(map(str, shape)), short, str(ratio), *shares])
    header = ["batch x heads x length x width", "precision", "flash ÷ plain, time", "flash, of the peak", "plain"]
    table = report.markdown_table(header, rows)
    here = report.versions(machine)
    text = f"""# Attention on the CPU: PyTorch's flash kernel, and plain products

Forward and backward of one layer without dropout, {arguments.rounds} rounds in turns: median of the rounds' ratios
with its 95 % interval. Above 1, plain products are faster. Of the peak: the seconds of the matrix products alone, over
the median time.

{report.machine_line(here)}

{table}

`Device.training` therefore takes plain products on a CPU in bf16 up to a length of {MAX_LENGTH_FOR_PLAIN_ATTENTION},
and leaves fp32, longer rows and prediction alone.
"""
    report.write(arguments.out, "attention", {"machine": here, "rounds": arguments.rounds, "shapes": measured}, text)
    print(text)


if __name__ == "__main__":
    main()
