"""Whether layers compute in the forms made for processors or in those of accelerators, where training takes long.

The forms in `research.models.layers` are chosen by shape, by rules that were measured on one kind of processor. On
another one they may lose, so a long training compares the two programs on the machine that it runs on.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Any

import jax

from research.context import FAST, REFERENCE, VENDOR
from research.errors import UserError
from research.experiment import Execution
from research.training import trials

if TYPE_CHECKING:
    from research.training.setup import Setup

LEAST_TRAINING = 1e14
"""FLOPs of a training below which nothing is measured: some ten minutes on two cores. The other program is compiled,
which takes seconds, and given up after one update where that is much slower."""

MOST_TURNED = 0.01
"""Share of the reference's arithmetic in turned convolutions above which it is not tried on a processor. There they are
plain loops, whichever processor it is: of ResNet-18 the first update took 205 s in place of 2, and cannot be ended."""

FOLDER = "lowerings"
"""Where choices are kept, beside the compiled programs."""

AUTO = "auto"


def lowerings_of(execution: Execution, device: Any = None) -> str:
    """``fast``, ``reference`` or ``vendor``; what is left open is fast until a measurement says otherwise.

    Args:
        execution: as the user gave it, or as it was recorded.
        device: that it is for; None where that is not known yet.
    """
    asked = FAST if execution.lowerings == AUTO else execution.lowerings
    return asked if device is None else offered(asked, device)


def offered(lowerings: str, device: Any) -> str:
    """The same, but ``fast`` for kernels of a vendor whose device this is not, as where a run goes on elsewhere."""
    return FAST if lowerings == VENDOR and not has_vendor(device) else lowerings


def check_lowerings(execution: Execution, device: Any) -> None:
    """Raise `UserError` for kernels of a vendor whose device this is not."""
    if execution.lowerings == VENDOR and not has_vendor(device):
        raise UserError(
            f"execution.lowerings: {VENDOR} was given, which are kernels of NVIDIA's library, and this would run on "
            f"{device.device_kind}. Allowed here: {AUTO}, {FAST}, {REFERENCE}."
        )


def has_vendor(device: Any) -> bool:
    """Whether a device has kernels of its vendor that `VENDOR` asks for."""
    return "cuda" in device.client.platform_version


def by_fastest(setup: Setup, measured: bool = True) -> Setup:
    """The setup with the lowerings that train faster here, named in its ``execution``, where the user left that open.

    Args:
        setup: as it was made, over as many devices as it is to train on.
        measured: whether anything may be measured, by updates that are thrown away; if not, ``lowered`` says what is
            open.
    """
    if setup.execution.lowerings != AUTO:
        return setup
    fast = dataclasses.replace(setup, execution=setup.execution.replace(lowerings=FAST))
    if not _is_open(setup):
        return fast
    name = trials.name_of(setup, setup.programs)
    kept = _valid(trials.read_kept(FOLDER, name))
    flops = trials.flops_of(setup) if kept is None else kept["flops"]
    # By its arithmetic alone, as in `research.training.virtual_devices`.
    if setup.cadence.total < trials.LEAST_UPDATES or flops * setup.cadence.total < LEAST_TRAINING:
        return fast
    if kept is None and _is_hopeless(setup.computing(REFERENCE), flops):
        return fast
    if not measured and (kept is None or (setup.choice is not None and setup.choice.open)):
        return dataclasses.replace(setup, lowered="fast or reference: measured when the run begins")
    if kept is None:
        found = trials.compared({FAST: setup, REFERENCE: setup.computing(REFERENCE)})
        if not found:
            return fast
        taken = REFERENCE if found[REFERENCE] * trials.ADVANTAGE < found[FAST] else FAST
        known = {"lowerings": taken, "milliseconds": found, "day": datetime.date.today().isoformat(), "flops": flops}
        kept = trials.keep(FOLDER, name, known, lambda there: _valid(there) is not None)
    parts = ", ".join(f"{took:.3g} ms by {name}" for name, took in kept["milliseconds"].items())
    told = f"{kept['lowerings']}; an update took {parts} ({kept['day']})"
    return dataclasses.replace(fast if kept["lowerings"] == FAST else setup.computing(REFERENCE), lowered=told)


def _is_hopeless(setup: Setup, flops: float) -> bool:
    """Whether more than a little of an update would be loops of plain XLA."""
    assert setup.feed is not None
    return setup.program.turned(setup.program.carry_like(), setup.feed.window(0)) > MOST_TURNED * flops


def _is_open(setup: Setup) -> bool:
    alone = setup.device.platform == "cpu" and jax.process_count() == 1 and setup.reading is not None
    return alone and trials.folder_of(FOLDER) is not None


def _valid(found: Any) -> dict[str, Any] | None:
    """What was kept; None for what is absent or damaged, which is measured anew."""
    try:
        took = {name: float(found["milliseconds"][name]) for name in (FAST, REFERENCE)}
        known = {"lowerings": str(found["lowerings"]), "milliseconds": took, "day": str(found["day"])}
        return known | {"flops": float(found["flops"])} if known["lowerings"] in took else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
