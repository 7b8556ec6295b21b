"""`metrics.jsonl` and TensorBoard events: what was measured at which step, and nothing that depends on the clock."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from research.errors import RunError


class MetricsLog:
    """Appends one JSON line per event; a resumed run continues as if it had never stopped.

    Args:
        path: the JSONL file.
        step: lines after this step are removed, for the run resumes from there.
        tensorboard: directory for TensorBoard events; None writes none.
    """

    def __init__(self, path: Path, step: int, tensorboard: Path | None) -> None:
        self.path = path
        _truncate(path, step)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115
        self._events: Any = None
        if tensorboard is not None:
            summary_writer, self._summary = _tensorboard()
            self._events = summary_writer(str(tensorboard), purge_step=step + 1 if tensorboard.exists() else None)

    def write(self, record: dict[str, Any]) -> None:
        """Append one event; it is in the system's hands on return, so a killed process loses nothing."""
        try:
            self._file.write(_line(record))
            self._file.flush()
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written ({error.strerror}). Free some disk space.") from None
        if self._events is not None:
            # All of them in one event: an event for each took half the time of an evaluation of a small network.
            values = [
                self._summary.Value(tag=name, simple_value=value)
                for name, value in record.items()
                if name not in ("step", "epoch") and math.isfinite(value)
            ]
            self._events.file_writer.add_summary(self._summary(value=values), record["step"])

    def close(self) -> None:
        """Close the files; what could not be written has been said by `write`."""
        with contextlib.suppress(OSError):
            self._file.close()
        if self._events is not None:
            self._events.close()


def _tensorboard() -> tuple[Any, Any]:
    """Classes of tensorboardX, without PyTorch: it imports it where it is installed, which takes more than a second."""
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        from tensorboardX import SummaryWriter
        from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
    finally:
        if hidden:
            del sys.modules["torch"]
    return SummaryWriter, Summary


class NoLog:
    """The log of a process that writes none."""

    def write(self, record: dict[str, Any]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a metrics file; a line that a killed process left unfinished is skipped."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def _line(record: dict[str, Any]) -> str:
    """Strict JSON: a number that is not finite is null."""
    return json.dumps(finite(record), allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """The same dicts, lists and numbers, with None for each number that is not finite, which JSON cannot carry."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _truncate(path: Path, step: int) -> None:
    kept = [record for record in read_metrics(path) if record["step"] <= step]
    part = path.with_name(f"{path.name}.part")
    part.write_text("".join(map(_line, kept)), encoding="utf-8")
    os.replace(part, path)
