"""How a run's updates are fastest on this machine, as far as the user has left that open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from research.training.lowerings import by_fastest
from research.training.virtual_devices import over_fastest

if TYPE_CHECKING:
    from research.training.setup import Setup


def fastest(setup: Setup, begun_over: int | None = None, measured: bool = True) -> Setup:
    """The setup over the number of a processor's cores, and with the forms of layers, that train fastest here.

    Args:
        setup: as it was made; closed where another one takes its place, and where this fails.
        begun_over: over how many cores a run began that is to go on; None for a new one.
        measured: whether anything may be measured, by updates that are thrown away; if not, the card says what is open.
    """
    try:
        spread = over_fastest(setup, begun_over, measured)
    except BaseException:
        setup.close()
        raise
    try:
        return by_fastest(spread, measured)
    except BaseException:
        spread.close()
        raise
