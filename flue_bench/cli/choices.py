"""Values of options that several commands have."""

from __future__ import annotations

from enum import StrEnum


class SplitChoice(StrEnum):
    """Values of ``--split``."""

    test = "test"
    validation = "validation"
