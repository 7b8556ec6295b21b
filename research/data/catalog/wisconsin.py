"""`Wisconsin`: 569 fine-needle biopsies of the breast, benign or malignant."""

from __future__ import annotations

import numpy as np
import pandas as pd

from research.data.about import About
from research.data.source import Source
from research.data.table import Column, Table
from research.task import Task


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
            summary="569 breast biopsies, 30 measurements of cell nuclei; benign or malignant",
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
        from sklearn.datasets import load_breast_cancer

        values, malignant_is_zero, names = _as_arrays(load_breast_cancer())
        return Table(
            frame=pd.DataFrame({name: values[:, index] for index, name in enumerate(names)}),
            columns=tuple(Column(name, "numeric") for name in names),
            # scikit-learn numbers malignant 0; the disease is the positive class here.
            targets=(1 - malignant_is_zero).astype(np.int32),
            task=Task("binary", ("benign", "malignant")),
            patient=None,
            split=None,
            row=np.arange(len(values), dtype=np.int32),
            about=self.about(),
        )


def _as_arrays(bunch: object) -> tuple[np.ndarray, np.ndarray, list[str]]:
    values, targets = np.asarray(getattr(bunch, "data")), np.asarray(getattr(bunch, "target"))  # noqa: B009
    return values, targets, [str(name) for name in getattr(bunch, "feature_names")]  # noqa: B009
