"""WFDB records for tests, written by the reference package."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np


def put(
    folder: Path,
    name: str,
    signal: np.ndarray,
    rate: float = 100,
    leads: tuple[str, ...] = ("I", "V1"),
    form: str = "16",
    unit: str = "mV",
) -> None:
    """Write a record with a thousandth of a unit a count, in other formats than 16 a hundredth."""
    import wfdb

    folder.mkdir(exist_ok=True)
    with warnings.catch_warnings(action="ignore"):  # wfdb writes in a way that pandas 3.1 warns of
        wfdb.wrsamp(
            name,
            fs=rate,
            units=[unit] * len(leads),
            sig_name=list(leads),
            p_signal=signal,
            fmt=[form] * len(leads),
            adc_gain=[1000.0 if form == "16" else 100.0] * len(leads),
            baseline=[0] * len(leads),
            write_dir=str(folder),
        )
