"""Whether layers compute in the forms made for processors or in those of accelerators, where training takes long.

The forms in `research.models.layers` are chosen by shape, by rules that were measured on one kind of processor. On
another one they may lose, so a long training compares the two programs on the machine that it runs on.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Any

import jax

from research.experiment import Execution
from research.training import trials

if TYPE_CHECKING:
    from research.training.setup import Setup

LEAST_TRAINING = 1e14
"""FLOPs of a training below which nothing is measured: some ten minutes on two cores. Compiling and trying the
other program takes up to half a minute."""

FOLDER = "lowerings"
"""Where choices are kept, beside the compiled programs."""

ASKED, REFERENCE, FAST = "auto", "reference", "fast"


def lowerings_of(execution: Execution) -> str:
    """``fast`` or ``reference``; what is left open is fast until a measurement says otherwise."""
    return REFERENCE if execution.lowerings == REFERENCE else FAST


def by_fastest(setup: Setup, measured: bool = True) -> Setup:
    """The setup with the lowerings that train faster here, named in its ``execution``, where the user left that open.

    Args:
        setup: as it was made; closed where another one takes its place, and where measuring fails.
        measured: whether anything may be measured, by updates that are thrown away; if not, ``lowered`` says what is
            open.
    """
    if setup.execution.lowerings != ASKED:
        return setup
    if not _is_open(setup):
        return _taking(setup, FAST)
    # By its arithmetic alone, as in `research.training.virtual_devices`.
    if trials.flops_of(setup) * setup.cadence.total < LEAST_TRAINING:
        return _taking(setup, FAST)
    name = trials.name_of(setup, setup.programs)
    kept = _valid(trials.read_kept(FOLDER, name))
    if kept is None and not measured:
        return dataclasses.replace(setup, lowered="fast or reference: measured when the run begins")
    return _measured(setup, name) if kept is None else _taking(setup, kept)


def _is_open(setup: Setup) -> bool:
    alone = setup.device.platform == "cpu" and jax.process_count() == 1 and setup.reading is not None
    return alone and trials.folder_of(FOLDER) is not None


def _measured(setup: Setup, name: str) -> Setup:
    other = setup.computing(REFERENCE)
    try:
        found = trials.compared({FAST: setup, REFERENCE: other})
    except BaseException:
        setup.close()
        raise
    finally:
        other.close()
    if not found:
        return _taking(setup, FAST)
    taken = REFERENCE if found[REFERENCE] * trials.ADVANTAGE < found[FAST] else FAST
    known = {"lowerings": taken, "milliseconds": found, "day": datetime.date.today().isoformat()}
    return _taking(setup, trials.keep(FOLDER, name, known, lambda there: _valid(there) is not None))


def _taking(setup: Setup, kept: dict[str, Any] | str) -> Setup:
    """The setup with these lowerings; what was measured goes onto the card."""
    if isinstance(kept, str):
        return dataclasses.replace(setup, execution=setup.execution.replace(lowerings=kept))
    taken, took = kept["lowerings"], kept["milliseconds"]
    parts = ", ".join(f"{each:.3g} ms by {name}" for name, each in took.items())
    if taken != FAST:
        setup.close()
        setup = setup.computing(taken)
    told = f"{taken}; an update took {parts} ({kept['day']})"
    return dataclasses.replace(setup, execution=setup.execution.replace(lowerings=taken), lowered=told)


def _valid(found: Any) -> dict[str, Any] | None:
    """What was kept; None for what is absent or damaged, which is measured anew."""
    try:
        took = {name: float(found["milliseconds"][name]) for name in (FAST, REFERENCE)}
        known = {"lowerings": str(found["lowerings"]), "milliseconds": took, "day": str(found["day"])}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return known if known["lowerings"] in took else None
