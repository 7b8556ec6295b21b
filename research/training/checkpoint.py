"""Checkpoints: the only module that touches Orbax. ``last`` and ``best`` are separate, saved beside the training."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from research.errors import RunError, UserError, first_line

# A save that fails is reported once, by `Checkpoints`, and not by each of the threads that were at work on it:
# Orbax closes their event loop at the first failure, so the others are never awaited and cannot report back.
for _name in ("absl", "asyncio"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", r"coroutine 'async_serialize_from_host\..*' was never awaited", RuntimeWarning)
_unraisablehook = sys.unraisablehook


def _without_late_reports(unraisable: sys.UnraisableHookArgs) -> None:
    """Report what no one could catch, save for a thread of TensorStore that found the event loop closed."""
    trace = unraisable.exc_traceback
    from_no_python = trace is not None and trace.tb_frame.f_code.co_name == "call_soon_threadsafe"
    if not (from_no_python and str(unraisable.exc_value) == "Event loop is closed"):
        _unraisablehook(unraisable)


sys.unraisablehook = _without_late_reports

KEEP = 2
STORAGE_ERRORS = (OSError, ValueError, RuntimeError)
"""What Orbax and TensorStore raise where the file system refuses; anything else is a defect and passes through."""


class Checkpoints:
    """Numbered checkpoints of one kind in a directory; saving goes on in the background.

    A checkpoint appears under its number only when it is complete, so a process killed at any moment leaves the
    previous ones intact; what it leaves half-written is removed when the directory is opened again.

    Args:
        directory: where the checkpoints lie.
        writable: False opens them for reading only and removes nothing.
    """

    def __init__(self, directory: Path, writable: bool = True) -> None:
        self.directory = directory
        self._failed = threading.Event()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=KEEP if writable else None,
            create=writable,
            cleanup_tmp_directories=writable,
            enable_async_checkpointing=writable,
            read_only=not writable,
            # The processes of a run wait for each other under names; two kinds are saved at the same time.
            multiprocessing_options=ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=directory.name),
            async_options=ocp.options.AsyncOptions(barrier_sync_fn=self._meet),
        )
        handler = ocp.StandardCheckpointHandler()
        try:
            self._manager = ocp.CheckpointManager(directory.resolve(), item_handlers=handler, options=options)
        except OSError as error:
            raise RunError(f"{directory}: checkpoints cannot be kept here ({error}).") from None

    def latest(self) -> int | None:
        """The number of the newest complete checkpoint."""
        return self._manager.latest_step()

    def save(self, step: int, value: Any) -> None:
        """Start saving a pytree of arrays as checkpoint ``step``; returns once it may be changed or donated.

        A step that is there already, or lies before one that is, was saved by this very run before it was interrupted
        and is not saved again: a resumed run comes by the same bits.

        Raises:
            RunError: if this save cannot start or an earlier one failed, for instance on a full disk.
        """
        latest = self.latest()
        if latest is not None and step <= latest:
            return
        try:
            self._manager.save(step, args=ocp.args.StandardSave(value), force=True)
        except STORAGE_ERRORS as error:
            raise self._failure(error) from error

    def check(self) -> None:
        """Raise `RunError` where a save in the background has failed; does not wait for one in progress.

        Of several processes one may fail alone, and the others would wait for its part.
        """
        if self._failed.is_set():
            self.wait()

    def wait(self) -> None:
        """Return once everything saved is on disk; raises `RunError` where a save failed."""
        try:
            self._manager.wait_until_finished()
        except STORAGE_ERRORS as error:
            raise self._failure(error) from error

    def restore(self, step: int, like: Any, device: Any = None) -> Any:
        """Checkpoint ``step`` as a pytree of the shape of ``like``, on a device, or where the leaves of ``like`` lie.

        Raises:
            UserError: if it is damaged or holds something else.
        """
        target = like
        if device is not None:
            sharding = jax.sharding.SingleDeviceSharding(device)
            target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), like)
        try:
            return self._manager.restore(step, args=ocp.args.StandardRestore(target))
        except Exception as error:
            raise UserError(
                f"{self.directory / str(step)}: the checkpoint cannot be read ({first_line(error)}). It is damaged or "
                f"was written for another experiment; remove it to fall back on an earlier one."
            ) from error

    def restore_free(self, step: int) -> Any:
        """Checkpoint ``step`` as nested dicts of arrays on one device, whatever it holds and whoever saved it."""
        one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                held = self._manager.item_metadata(step)
                like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=one), held)
                return self._manager.restore(step, args=ocp.args.StandardRestore(like))
        except Exception as error:
            raise UserError(
                f"{self.directory / str(step)}: not a readable checkpoint ({first_line(error)})."
            ) from error

    def close(self) -> None:
        """Wait for saves in progress and release the threads."""
        try:
            self._manager.close()
        except STORAGE_ERRORS as error:
            raise self._failure(error) from error

    def _meet(self, *, key: str, timeout_ms: int) -> None:
        """The processes wait for each other at the end of a save, but for one that has failed: nobody comes there.

        Orbax goes there even then, with the error on its way to whoever waits for the save, and would keep it from them
        for as long as the others, who wait for the part that failed, do not come.
        """
        if error := sys.exception():
            self._failed.set()
            raise error
        ocp.multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)

    def _failure(self, error: Exception) -> RunError:
        kept = self.latest()
        kept_text = f"The checkpoint of step {kept} is intact" if kept is not None else "No checkpoint was complete yet"
        system = re.search(r"os_error_code='(\d+)'", str(error))  # at the end of a long line about which file
        reason = os.strerror(int(system[1])) if system else first_line(error)
        return RunError(
            f"{self.directory}: a checkpoint could not be written: {reason}. {kept_text}. Free some disk "
            f"space or check the permissions, then run the same command again to continue from there."
        )
