"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from research.errors import UserError

NAME = "run.lock"


class Lock:
    """Claims a folder for this process, until `release` or the process's end.

    Args:
        folder: the folder, made where it is missing.
        called: what it is, for messages, such as ``run directory``.
        otherwise: what to do where another process has it, as a sentence.
        elsewhere: how to choose another folder, as a sentence.
    """

    def __init__(self, folder: Path, called: str, otherwise: str, elsewhere: str) -> None:
        self.folder, self.called, self.otherwise, self.elsewhere = folder, called, otherwise, elsewhere
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Claim the folder.

        Raises:
            UserError: if it cannot be written, or another process works in it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self.folder / NAME, "a+", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise UserError(
                f"{self.folder}: the {self.called} cannot be written ({error.strerror}). {self.elsewhere}"
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self.release()
            raise UserError(
                f"{self.folder}: another process is working in this {self.called} ({holder}). {self.otherwise}"
            ) from None
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._file.flush()

    def release(self) -> None:
        """Let others have the folder."""
        if self._file is not None:
            self._file.close()
            self._file = None
