"""What Python loads first in child processes of tests while a CPU is pretended: their torch is told the same."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import ModuleType


def pretend(cpu: ModuleType) -> None:
    """Let ``torch.cpu`` have native bf16 or none, as ``PRETENDED_BF16`` has it, and all else as it is."""
    can = cpu.get_capabilities() | dict.fromkeys(("avx512_bf16", "amx_bf16"), os.environ["PRETENDED_BF16"] == "1")
    cpu.get_capabilities = lambda: can  # type: ignore[attr-defined]


class Pretender(importlib.abc.MetaPathFinder):
    """Waits until torch is imported, which most commands never do."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "torch.cpu":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            pretend(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "PRETENDED_BF16" in os.environ:
    sys.meta_path.insert(0, Pretender())
