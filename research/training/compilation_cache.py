"""Compiled programs kept on disk, so that the second run of a program starts at once."""

from __future__ import annotations

import os
import platform
import warnings
import zlib
from pathlib import Path
from typing import Any

import jax

from research.training.provenance import processor_features

ZLIB = b"\x78"
"""How an entry begins that JAX packed with zlib. Where ``zstandard`` is installed it uses that: not looked at."""


def use_compilation_cache(folder: str | None = None) -> None:
    """Keep compiled programs on disk, so that the second run of a program starts at once.

    The folder is ``$RESEARCH_CACHE_DIR``, or ``~/.cache/research``; below it lies one per kind of processor, for
    compiled code is not portable. A cache that another tool has set up is left alone.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    root = Path(folder or os.environ.get("RESEARCH_CACHE_DIR") or Path.home() / ".cache" / "research")
    place = root / f"{platform.machine()}-{processor_features()}"
    try:
        place.mkdir(parents=True, exist_ok=True)
        _remove_damaged(place)
    except OSError as error:
        warnings.warn(f"no compilation cache: {place} cannot be written ({error.strerror})", stacklevel=2)
        return
    settings: dict[str, Any] = {
        "jax_compilation_cache_dir": str(place),
        "jax_persistent_cache_min_compile_time_secs": 0.1,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)


def _remove_damaged(cache: Path) -> None:
    """Remove compiled programs that a full disk or a killed process left half-written.

    JAX would warn of each at every run and never replace it. Only what was written since the last look is read.
    """
    looked = cache / "looked-through"
    since = looked.stat().st_mtime_ns if looked.exists() else 0
    written = [entry for entry in cache.glob("*-cache") if entry.stat().st_mtime_ns >= since]
    looked.touch()
    for entry in written:
        packed = entry.read_bytes()
        try:
            if packed.startswith(ZLIB) or not packed:
                zlib.decompress(packed)
        except zlib.error:
            entry.unlink(missing_ok=True)
