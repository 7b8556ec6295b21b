"""`About`: what a dataset is, who made it and what may be done with it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class About:
    """What a reader must know of a dataset before trusting a number made from it.

    Attributes:
        name: short name, as in the catalogue.
        summary: one line: what a row is and what is predicted.
        licence: what may be done with it, or that this is not stated.
        citation: the publication to cite, or that none is stated.
        homepage: address of the publisher's page; empty if there is none.
        notes: units, known defects, what the positive class is, whether patients are identified.
    """

    name: str
    summary: str
    licence: str = "not stated"
    citation: str = "not stated"
    homepage: str = ""
    notes: tuple[str, ...] = ()
