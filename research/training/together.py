"""What several processes of one run make sure of before they train, and how an error of one ends them all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from research.errors import ResearchError, RunError, UserError
from research.processes import ProcessGroup
from research.spec import fingerprint
from research.training import start_from
from research.training.determinism import in_force
from research.training.loop import Interrupted
from research.training.setup import Setup


def check_together(
    setup: Setup, group: ProcessGroup, now: dict[str, Any], directory: Path, extended_to: int | None
) -> None:
    """Raise `UserError` where a process has other things to train than the first one, or nothing to do.

    Args:
        setup: what this process would train.
        group: the processes.
        now: as `research.training.provenance.environment` says.
        directory: of the run.
        extended_to: number of updates where the run goes on beyond what the experiment says.
    """
    group.check_same(_same(setup, now, directory, extended_to))
    _check_all_train(setup, group)


def _same(setup: Setup, now: dict[str, Any], directory: Path, extended_to: int | None) -> dict[str, str]:
    """What all processes of a run must have alike."""
    prepared, start = setup.prepared, setup.experiment.start_from
    return {
        "experiment": fingerprint(setup.experiment),
        "seed": f"{setup.seed}",
        "code": now["code"],
        "data": "" if prepared is None else prepared.fingerprint,
        "start_from": "" if start is None else start_from.content_hash(start),
        "execution": fingerprint(setup.execution),
        "XLA_FLAGS": in_force(),
        "run directory": f"{directory.resolve()}, to update {extended_to or setup.cadence.total}",
    }


def _check_all_train(setup: Setup, group: ProcessGroup) -> None:
    """Raise `UserError` where a process has no part in the work: the others would wait for it for ever."""
    layout = setup.program.outline.layout
    working = {device.process_index for device in layout.devices} if layout is not None else {0}
    if idle := sorted(set(range(group.count)) - working):
        here = jax.device_count(setup.device.platform)
        raise UserError(
            f"execution.parallel: of {group.count} processes {', '.join(map(group.name, idle))} would have nothing to "
            f"do. Set execution.parallel.data={here} for all devices, or start fewer processes."
        )


@contextlib.contextmanager
def telling(group: ProcessGroup) -> Iterator[None]:
    """An error ends all processes before anything is closed: a save in progress would wait for those that wait here."""
    try:
        yield
    except Interrupted:
        raise
    except ResearchError as error:
        group.fail(str(error), error.exit_code)
        raise
    except Exception as error:
        group.fail(f"{type(error).__name__}: {error}", RunError.exit_code, foreseen=False)
        raise
