"""Beats of the ECG judged as the AAMI recommends: ventricular and supraventricular ectopic beats against the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from research.errors import UserError
from research.evaluation.estimate import Estimate
from research.evaluation.measures import Share
from research.evaluation.predictions import Predictions

SYMBOLS = ("N", "S", "V", "F", "Q")
"""Normal, supraventricular ectopic, ventricular ectopic, fusion and unknown beats."""

NEUTRAL = {"VEB": ("V", ("F", "Q")), "SVEB": ("S", ("Q",))}
"""What is to be found, and the beats that may be called so without being counted as falsely called."""


def aami(predictions: Predictions, names: Mapping[str, str] | None = None) -> dict[str, tuple[Estimate, ...]]:
    """Sensitivity, positive predictivity (``precision``) and ``false_positive_rate`` of ``VEB`` and of ``SVEB``.

    ANSI/AAMI EC57, in the form of de Chazal et al., "Automatic classification of heartbeats using ECG morphology and
    heartbeat interval features", IEEE Transactions on Biomedical Engineering 2004. A fusion or unknown beat that is
    called V, and an unknown beat that is called S, is left out: such a beat may be either. All beats count alike
    (gross statistics); intervals are Wilson's, with the patient as the unit where patients are known.

    Args:
        predictions: of beats, with targets; of several classes.
        names: what the task calls the classes N, S, V, F and Q, where it calls them something else.

    Raises:
        UserError: if the targets are not known, or N, S or V is no class of the task. F and Q may be missing.
    """
    task, targets = predictions.task, predictions.targets
    if task.kind != "multiclass" or targets is None:
        raise UserError("aami: predictions of several classes with known targets are needed.")
    names = {symbol: symbol for symbol in SYMBOLS} | dict(names or {})
    lacking = [names[symbol] for symbol in "NSV" if names[symbol] not in task.names]
    if lacking or set(names) != set(SYMBOLS):
        raise UserError(
            f"aami: the classes N, S and V are needed, and the task has {', '.join(task.names)}. Say what it calls "
            f"them by names={{'N': ..., 'S': ..., 'V': ..., 'F': ..., 'Q': ...}}."
        )
    number = {symbol: task.names.index(name) for symbol, name in names.items() if name in task.names}
    said: Any = predictions.prediction.argmax(-1)
    unit = predictions.unit

    def estimate(name: str, share: Share) -> Estimate:
        rows = share.among
        patients = None if predictions.patient is None else len(np.unique(unit[rows]))
        value = float(share.success[rows].mean()) if rows.any() else float("nan")
        found = share.interval(unit, predictions.unit_name)
        return Estimate(name, value, found.low, found.high, int(rows.sum()), patients, found.method)

    estimates = {}
    for group, (symbol, neutral) in NEUTRAL.items():
        true, called = targets == number[symbol], said == number[symbol]
        excused = np.isin(targets, [number[other] for other in neutral if other in number]) & called
        estimates[group] = (
            estimate("sensitivity", Share(true & called, true)),
            estimate("precision", Share(true & called, called & ~excused)),
            estimate("false_positive_rate", Share(called & ~true, ~true & ~excused)),
        )
    return estimates
