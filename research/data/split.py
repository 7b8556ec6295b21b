"""`Split`: which rows train, which choose, which test; whole patients only."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped

from research.data.dataset import SPLITS, Dataset
from research.data.division import set_aside
from research.errors import UserError
from research.spec import Spec, Static, field

FEWEST_PATIENTS = 3
"""Patients that a class needs so that each of train, validation and test can have one."""


class Split(Spec):
    """A division of the patients (of the rows, where no patients are known) into train, validation and test.

    First ``test`` of all patients are set aside, then ``validation`` of the patients that are left: 0.2 and 0.2 give
    64 % train, 16 % validation, 20 % test. Classes keep their proportions: patients are stratified by their label
    (binary: 1 if any of their rows or steps is positive; multi-class: their most frequent class); other data are not
    stratified. Where no patients are known, copies of one picture are not divided either.

    With ``folds`` the test split is fold number ``fold`` of a k-fold division of the patients, and validation is
    taken from the others as before. With ``inner_folds`` as well that fold is left out, and the test split is fold
    ``inner_fold`` of a division of the other patients: what is chosen there can be judged on the fold left out.
    Official splits of the data are kept as they are; where they have no test split, ``test`` of the training
    patients becomes one, and where they have no validation split, ``validation`` of the training patients that are
    left. With ``validation=none`` these train too, for a protocol that chooses nothing. With ``train_share`` below
    1 only a part of the training patients is trained on, for learning curves: classes keep their proportions,
    smaller parts lie within larger ones, validation and test stay as they are. The same seed gives the same split.
    """

    test: Static[float] = field(0.2, above=0, below=1, help="fraction of the patients in the test split")
    validation: Static[float | None] = field(
        0.2, above=0, below=1, help="fraction of the patients left after test; none: no such split, nothing is chosen"
    )
    seed: int = field(0, minimum=0, maximum=2**32 - 1, help="number of the division")
    folds: int | None = field(None, minimum=2, help="number of folds; none for a single division")
    fold: int = field(0, minimum=0, help="which fold is the test split, from 0")
    inner_folds: int | None = field(None, minimum=2, help="folds of the patients outside that fold; none: not divided")
    inner_fold: int = field(0, minimum=0, help="which of these is the test split, from 0")
    train_share: Static[float] = field(1.0, above=0, maximum=1, help="part of the training patients that is used")

    @property
    def required(self) -> tuple[str, ...]:
        """The splits that must not be empty."""
        return tuple(name for name in SPLITS if name != "validation" or self.validation is not None)

    def validate(self) -> None:
        """The fold must be one of the folds."""
        if self.folds is None and self.fold:
            raise UserError(f"fold: {self.fold} was given without folds. Set folds as well, such as folds=5.")
        if self.folds is not None and self.fold >= self.folds:
            raise UserError(f"fold: a number from 0 to {self.folds - 1} is needed, {self.fold} was given.")
        if self.inner_folds is not None and self.folds is None:
            raise UserError("inner_folds: these divide the patients outside a fold. Set folds as well, as in folds=5.")
        if self.inner_fold >= (self.inner_folds or 1):
            allowed = "none without inner_folds" if self.inner_folds is None else f"0 to {self.inner_folds - 1}"
            raise UserError(f"inner_fold: {self.inner_fold} was given; allowed: {allowed}.")

    def assign(self, dataset: Dataset) -> Shaped[np.ndarray, " N"]:
        """The split of every row, ``[N]`` of ``train``, ``validation``, ``test`` or, where it is left out, ``unused``.

        Raises:
            UserError: if there are too few patients (of a class) to divide, naming the class and the count, or if
                folds are asked of data with official splits, or these have no train split.
        """
        return self._thinned(self._official(dataset) if dataset.split is not None else self._own(dataset), dataset)

    def largest(self, dataset: Dataset) -> dict[str, int]:
        """Most rows that each split has in any of the folds; empty without folds.

        Arrays that are filled up to so many rows are of one size in all folds, which then share a compiled program.
        """
        if self.folds is None:
            return {}
        places = itertools.product(range(self.folds), range(self.inner_folds or 1))
        most: dict[str, int] = dict.fromkeys(SPLITS, 0)
        for fold, inner in places:
            try:
                names = self.replace(fold=fold, inner_fold=inner).assign(dataset)
            except UserError:
                continue  # told when that fold is asked for
            most = {name: max(count, int((names == name).sum())) for name, count in most.items()}
        return most

    def _own(self, dataset: Dataset) -> Shaped[np.ndarray, " N"]:
        patients, labels = _patient_labels(dataset)
        rest = np.arange(len(patients))
        names = np.full(len(patients), "train", dtype="<U10")
        if self.folds is not None:
            held_out = _fold(labels, rest, self.folds, self.fold, self.seed, dataset)
        else:
            held_out = _carve(labels, rest, self.test, self.seed, "test", dataset, FEWEST_PATIENTS)
        rest = np.setdiff1d(rest, held_out)
        if self.inner_folds is not None:
            names[held_out] = "unused"
            held_out = _fold(labels, rest, self.inner_folds, self.inner_fold, self.seed, dataset)
            rest = np.setdiff1d(rest, held_out)
        names[held_out] = "test"
        if self.validation is not None:
            chosen = _carve(labels, rest, self.validation, self.seed, "validation", dataset, FEWEST_PATIENTS - 1)
            names[chosen] = "validation"
        return names[dataset.unit]

    def _official(self, dataset: Dataset) -> Shaped[np.ndarray, " N"]:
        assert dataset.split is not None
        if self.folds is not None:
            raise UserError(
                f"folds: {dataset.about.name} has official splits, which are kept. Set folds to none, or load the data "
                f"without its split column."
            )
        names = dataset.split.astype("<U10")
        if "train" not in names:
            raise UserError(
                f"the official splits of {dataset.about.name} have no train split, only "
                f"{' and '.join(sorted(set(names.tolist())))}. Add the training data, or load the data without its "
                f"splits."
            )
        labels = _patient_labels(dataset)[1]
        lacking = [name for name in ("test", "validation") if name not in names]
        for number, name in enumerate(lacking):
            train = np.unique(dataset.unit[names == "train"])
            fraction = self.test if name == "test" else self.validation
            if fraction is None:
                continue
            chosen = _carve(labels, train, fraction, self.seed, name, dataset, fewest=1 + len(lacking) - number)
            names[np.isin(dataset.unit, chosen) & (names == "train")] = name
        return names

    def _thinned(self, names: Shaped[np.ndarray, " N"], dataset: Dataset) -> Shaped[np.ndarray, " N"]:
        """The split with all but ``train_share`` of the patients of train, at least one of each class, left out."""
        if self.train_share == 1:
            return names
        labels = _patient_labels(dataset)[1]
        train = np.unique(dataset.unit[names == "train"])
        shuffled = np.random.default_rng((self.seed, zlib.crc32(b"train_share"))).permutation(train)
        strata = np.zeros(len(train), int) if labels is None else labels[shuffled]
        rank = pd.Series(strata).groupby(strata).cumcount().to_numpy()
        left_out = shuffled[rank >= np.maximum(1, np.round(self.train_share * np.bincount(strata)))[strata]]
        return np.where(np.isin(dataset.unit, left_out) & (names == "train"), "unused", names)


def _patient_labels(dataset: Dataset) -> tuple[np.ndarray, Int[np.ndarray, " P"] | None]:
    """The patients' numbers, and the label by which they are stratified (None: not stratified)."""
    unit = dataset.unit
    patients = np.unique(unit)
    if not dataset.task.is_classes:
        return patients, None
    if dataset.task.per_step:
        if dataset.task.kind != "binary":
            return patients, None
        return patients, np.isin(patients, unit[(dataset.targets == 1).any(1)]).astype(int)
    counts = pd.crosstab(unit, dataset.targets).reindex(columns=range(len(dataset.task.names)), fill_value=0).to_numpy()
    if dataset.task.kind == "binary":
        return patients, (counts[:, 1] > 0).astype(int)
    return patients, counts.argmax(axis=1)


def _carve(
    labels: Int[np.ndarray, " P"] | None,
    among: np.ndarray,
    fraction: float,
    seed: int,
    name: str,
    dataset: Dataset,
    fewest: int,
) -> np.ndarray:
    """``fraction`` of the patients ``among``, stratified by ``labels``; each class needs at least ``fewest``."""
    strata = None if labels is None else labels[among]
    _check_enough(strata, len(among), dataset, fewest)
    try:
        return np.sort(among[set_aside(len(among), fraction, seed, strata)])
    except ValueError as error:
        what = "rows" if dataset.patient is None else "patients"
        raise UserError(
            f"split.{name}: {fraction:g} of {len(among)} {what} of {dataset.about.name} cannot be set aside "
            f"with every class in it ({error}). Use a larger fraction or more data."
        ) from None


def _fold(
    labels: Int[np.ndarray, " P"] | None, among: np.ndarray, folds: int, fold: int, seed: int, dataset: Dataset
) -> np.ndarray:
    """The patients ``among`` of one fold; the folds of one seed are disjoint and cover them all."""
    from sklearn.model_selection import KFold, StratifiedKFold

    strata = None if labels is None else labels[among]
    _check_enough(strata, len(among), dataset, folds)
    if len(among) < folds:
        raise UserError(f"folds: {folds} folds need at least as many patients; {dataset.about.name} has {len(among)}.")
    kind = KFold if strata is None else StratifiedKFold
    division = kind(n_splits=folds, shuffle=True, random_state=seed).split(np.zeros(len(among)), strata)
    return among[[held_out for _, held_out in division][fold]]


def _check_enough(labels: Int[np.ndarray, " P"] | None, patients: int, dataset: Dataset, fewest: int) -> None:
    what = "rows" if dataset.patient is None else "patients"
    if patients < fewest:
        raise UserError(f"{dataset.about.name} has {patients} {what} to divide; at least {fewest} are needed.")
    if labels is None:
        return
    for number, name in enumerate(dataset.task.names):
        count = int((labels == number).sum())
        if 0 < count < fewest:
            raise UserError(
                f"class {name!r} of {dataset.about.name} has {count} {what}; at least {fewest} are needed to divide it "
                f"between the splits. Merge or drop the class, or use fewer folds."
            )
