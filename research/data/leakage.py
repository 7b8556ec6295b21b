"""The leakage gate: no patient in two splits; identical examples, across splits and within, are counted."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pandas as pd
from jaxtyping import Shaped, UInt64

from research.data.dataset import BY_ROW, SPLITS
from research.errors import UserError

SHOWN = 5
"""How many of the offending patients a message names."""


@dataclasses.dataclass(frozen=True)
class Leakage:
    """What the gate found in splits that it let pass.

    Attributes:
        basis: ``by patient``, or that the splits are by row because no patients are identified.
        identical: for each pair of splits such as ``train/test``, how many examples of the second have exactly the
            inputs of some example of the first.
        repeated: for each split, how many examples have exactly the inputs of an earlier one of it.
    """

    basis: str
    identical: dict[str, int]
    repeated: dict[str, int]


def check_leakage(
    split: Shaped[np.ndarray, " N"], patient: Shaped[np.ndarray, " N"] | None, hashes: UInt64[np.ndarray, " N"]
) -> Leakage:
    """Stop where a patient is in more than one split; count identical examples.

    Args:
        split: name of the split of each row.
        patient: identifier of the patient of each row; None where there are none.
        hashes: of the raw inputs of each row; equal where the inputs are.

    Raises:
        UserError: naming how many patients overlap and the first few, with their splits.
    """
    if patient is not None:
        _check_patients(split, patient)
    present = [name for name in SPLITS if (split == name).any()]
    identical = {
        f"{first}/{second}": int(np.isin(hashes[split == second], hashes[split == first]).sum())
        for first, second in itertools.combinations(present, 2)
    }
    repeated = {name: int((split == name).sum() - len(np.unique(hashes[split == name]))) for name in present}
    return Leakage(BY_ROW if patient is None else "by patient", identical, repeated)


def _check_patients(split: Shaped[np.ndarray, " N"], patient: Shaped[np.ndarray, " N"]) -> None:
    used = np.isin(split, SPLITS)
    pairs = pd.DataFrame({"patient": patient[used], "split": split[used]}).drop_duplicates()
    shared = pairs[pairs.duplicated("patient", keep=False)]
    names = list(dict.fromkeys(shared["patient"]))
    if not names:
        return
    described = [
        f"{name!r} ({', '.join(s for s in SPLITS if s in set(shared.loc[shared['patient'] == name, 'split']))})"
        for name in names[:SHOWN]
    ]
    more = ", ..." if len(names) > SHOWN else ""
    subject = "1 patient is" if len(names) == 1 else f"{len(names)} patients are"
    raise UserError(
        f"{subject} in more than one split: {', '.join(described)}{more}. What is learnt from a patient must not be "
        f"tested on the same patient: put all rows of a patient in one split, or leave out the official splits so "
        f"that they are made by patient."
    )
