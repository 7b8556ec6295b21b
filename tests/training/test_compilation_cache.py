"""The compilation cache: what was left half-written is removed, what is whole stays, and nothing is read twice."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from research.training.compilation_cache import _remove_damaged


def entries(cache: Path) -> list[str]:
    return sorted(entry.name for entry in cache.glob("*-cache"))


def test_half_written_programs_are_removed(tmp_path: Path) -> None:
    packed = zlib.compress(bytes(range(256)) * 50)
    (tmp_path / "whole-cache").write_bytes(packed)
    (tmp_path / "half-cache").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "empty-cache").write_bytes(b"")
    (tmp_path / "zstandard-cache").write_bytes(b"\x28\xb5\x2f\xfd" + packed)
    _remove_damaged(tmp_path)
    assert entries(tmp_path) == ["whole-cache", "zstandard-cache"]


def test_only_what_was_written_since_is_read(tmp_path: Path) -> None:
    packed = zlib.compress(bytes(1000))
    old, new = tmp_path / "old-cache", tmp_path / "new-cache"
    old.write_bytes(packed)
    os.utime(old, (1, 1))
    _remove_damaged(tmp_path)
    old.write_bytes(packed[:9])
    os.utime(old, (1, 1))
    new.write_bytes(packed[:9])
    _remove_damaged(tmp_path)
    assert entries(tmp_path) == ["old-cache"]
