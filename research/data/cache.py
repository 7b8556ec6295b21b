"""Where prepared and downloaded data is kept, and what is said when there is no room for it."""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from pathlib import Path

from research.errors import UserError

FULL = tuple(code for name in ("ENOSPC", "EDQUOT", "EFBIG") if (code := getattr(errno, name, None)) is not None)
ABANDONED = 24 * 3600
"""Work that wrote nothing for so many seconds was killed; its rest is removed."""

REMEDY = "Free some room, or set RESEARCH_CACHE_DIR to a folder on a larger disk."


def cache_dir() -> Path:
    """Where prepared and downloaded data is kept: ``$RESEARCH_CACHE_DIR``, else ``~/.cache/research``."""
    return Path(os.environ.get("RESEARCH_CACHE_DIR") or Path.home() / ".cache" / "research")


def unfinished(place: Path) -> Path:
    """A path beside ``place`` that nobody else uses, for work that gets its name once it is complete."""
    return place.with_name(f"{place.name}.part-{uuid.uuid4().hex[:12]}")


def make_room(home: Path, needed: int, what: str) -> None:
    """Make the folder, and remove what killed processes left in it.

    Args:
        home: the folder.
        needed: bytes that will be written to it.
        what: what they are, for the message.

    Raises:
        UserError: if the folder cannot be made, or has too little room.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{home} cannot be made ({error.strerror}). Set RESEARCH_CACHE_DIR to another folder."
        ) from None
    for rest in home.glob("*.part-*"):
        if time.time() - _last_written(rest) > ABANDONED:
            shutil.rmtree(rest, ignore_errors=True)
    free = shutil.disk_usage(home).free
    if free < needed:
        raise UserError(f"{no_room(home, needed, what)} Only {_bytes(free)} are free. {REMEDY}")


def no_room(home: Path, needed: int, what: str) -> str:
    """A sentence saying how much room is needed."""
    return f"{home} has too little room: {what} take up to {_bytes(needed)}."


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk or a quota is full."""
    # ArrayRecord's errors are RuntimeErrors that carry the system's words only.
    return getattr(error, "errno", None) in FULL or any(os.strerror(code) in str(error) for code in FULL)


def _last_written(rest: Path) -> float:
    times = []
    for path in (rest, *rest.glob("*")):
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:  # its process has just finished
            times.append(time.time())
    return max(times)


def _bytes(count: int) -> str:
    return f"{count:,} bytes" if count < 1e7 else f"{count / 2**20:,.0f} MiB"
