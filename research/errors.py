"""Errors a user can act on: each names the thing, what was given, what is allowed and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

REQUEUE = 75
"""Exit code of what was asked to stop and has saved where it is: start the same command again (EX_TEMPFAIL)."""


class ResearchError(Exception):
    """Base of all errors whose message is meant for the user; the command line prints them without a traceback."""

    exit_code = 1


class UserError(ResearchError, ValueError):
    """A mistake in the command, the experiment or the data, found before any training step (exit code 2)."""

    exit_code = 2


class RunError(ResearchError, RuntimeError):
    """A failure while running, such as a non-finite loss or a full disk (exit code 1)."""

    exit_code = 1


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """A sentence with the closest allowed name, or an empty string; starts with a space for appending."""
    names = sorted(allowed)
    folded = {name.lower(): name for name in names}
    close = difflib.get_close_matches(given.lower(), folded, n=1, cutoff=0.6)
    return f" Did you mean {folded[close[0]]!r}?" if close else ""


def first_line(error: BaseException | None) -> str:
    """The first line of what an error of a library says, of bounded length, or its kind where it says nothing."""
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
