"""`Wisconsin`: 569 fine-needle biopsies of the breast, benign or malignant."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd

from research.data.about import About
from research.data.source import Source
from research.data.table import Column, Table
from research.datasets import SUMMARIES
from research.errors import UserError
from research.task import Task

MEASURES = (
    *("radius", "texture", "perimeter", "area", "smoothness"),
    *("compactness", "concavity", "concave points", "symmetry", "fractal dimension"),
)
NAMES = tuple(form.format(name) for form in ("mean {}", "{} error", "worst {}") for name in MEASURES)
"""The columns, named as scikit-learn names them."""


class Wisconsin(Source):
    """The Breast Cancer Wisconsin (Diagnostic) data, as scikit-learn carries it: offline, 569 rows, 30 measurements.

    Each row describes the cell nuclei in one digitised fine-needle aspirate of a breast mass. The positive class is
    malignant (212 rows). There are no patient identifiers, so splits and intervals are by row.

    Street, Wolberg & Mangasarian, "Nuclear feature extraction for breast tumor diagnosis", SPIE 1905 (1993).
    """

    def about(self) -> About:
        """Licence, citation and notes."""
        return About(
            name="wisconsin",
            summary=SUMMARIES["wisconsin"],
            licence="CC BY 4.0 (UCI Machine Learning Repository)",
            citation=(
                "W. N. Street, W. H. Wolberg, O. L. Mangasarian: Nuclear feature extraction for breast tumor "
                "diagnosis. Proc. SPIE 1905, 861-870 (1993). doi:10.24432/C5DW2B"
            ),
            homepage="https://archive.ics.uci.edu/dataset/17/breast+cancer+wisconsin+diagnostic",
            notes=(
                "positive class: malignant (212 of 569)",
                "no patient identifiers: splits and intervals are by row",
                "lengths in pixels of the digitised image; mean, standard error and worst (mean of the three largest)",
            ),
        )

    def load(self) -> Table:
        """All 569 rows; nothing is missing."""
        values, malignant_is_zero = _read()
        return Table(
            frame=pd.DataFrame({name: values[:, index] for index, name in enumerate(NAMES)}),
            columns=tuple(Column(name, "numeric") for name in NAMES),
            # scikit-learn numbers malignant 0; the disease is the positive class here.
            targets=(1 - malignant_is_zero).astype(np.int32),
            task=Task("binary", ("benign", "malignant")),
            patient=None,
            split=None,
            row=np.arange(len(values), dtype=np.int32),
            about=self.about(),
        )


def _read() -> tuple[np.ndarray, np.ndarray]:
    """Measurements and classes from scikit-learn's file, without the import of scikit-learn, which takes longer."""
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise UserError("wisconsin: scikit-learn, which carries this data, is not installed. Install scikit-learn.")
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "breast_cancer.csv"
    if not path.is_file():
        raise UserError(f"wisconsin: {path} is missing, a file of scikit-learn. Install scikit-learn again.")
    with path.open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    values = np.asarray(rows, dtype=np.float64)
    return values[:, :-1], values[:, -1].astype(int)
