"""Packages that plug something in, as pip leaves them on a path."""

from __future__ import annotations

from pathlib import Path


def put_package(site: Path, name: str, entry_points: str, source: str | None = None) -> Path:
    """Put a package of one module into ``site``, a folder for ``PYTHONPATH``, and return that.

    Args:
        site: made if it is not there.
        name: of package and module.
        entry_points: the text of ``entry_points.txt``.
        source: the module; None: it is already there.
    """
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    if source is not None:
        (site / f"{name}.py").write_text(source)
    return site
