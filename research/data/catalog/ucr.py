"""`UCR`: a dataset of the UCR and UEA archives of time series classification, from its published files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from research.data.about import About
from research.data.formats.ts_format import LabelledSeries, read_lines, read_ts, read_values
from research.data.series import Series, Variable
from research.data.source import Source, find_published
from research.errors import UserError, did_you_mean
from research.spec import field
from research.task import Task

HOMEPAGE = "https://www.timeseriesclassification.com"

SIZES = {
    "AtrialFibrillation": (15, 15),
    "BasicMotions": (40, 40),
    "CinCECGTorso": (40, 1380),
    "ECG200": (100, 100),
    "ECG5000": (500, 4500),
    "ECGFiveDays": (23, 861),
    "GunPoint": (50, 150),
    "JapaneseVowels": (270, 370),
    "NonInvasiveFetalECGThorax1": (1800, 1965),
    "NonInvasiveFetalECGThorax2": (1800, 1965),
    "TwoLeadECG": (23, 1139),
}
"""Series of train and test, as published, of some sets."""

PARTS = {"train": "TRAIN", "test": "TEST"}


class UCR(Source):
    """Labelled series of the UCR (one dimension) or UEA archive (several), with the official train and test split.

    ``NAME_TRAIN.tsv`` and ``NAME_TEST.tsv`` (a class, then values, a series a line) or ``NAME_TRAIN.ts`` and
    ``NAME_TEST.ts`` lie in ``path/NAME`` or ``path``; where there are both, the .tsv files are read. A name may go on
    after ``TRAIN`` or ``TEST``, as in ``NAME_TEST_part.tsv``, where there is no other. In .tsv files ``NaN`` at the
    end of a line fills up a shorter series; any other ``NaN`` or ``?`` is a missing value.

    Classes are in the order of their numbers, or else of the alphabet; of two the second one is the positive one,
    unless ``positive`` names it. Values are as in the files: for each series at mean 0 and deviation 1, as is usual
    with this archive, use ``SeriesData(scaling="series")``. Nobody's patients are identified.

    Dau et al., "The UCR time series archive", IEEE/CAA Journal of Automatica Sinica 6 (2019); Bagnall et al., "The UEA
    multivariate time series classification archive, 2018", arXiv:1811.00075.
    """

    name: str = field(help="name of the set, as in the archive, such as ECG200")
    path: str = field("ucr", help="folder of the sets; tried as given, then below $RESEARCH_DATA_DIR")
    positive: str | None = field(None, help="the positive one of two classes; none: the second one")

    def validate(self) -> None:
        """The name is that of a set."""
        if not self.name.strip() or Path(self.name).name != self.name:
            raise UserError(
                f"name: the name of a set of the archive is needed, such as ECG200; {self.name!r} was given."
            )

    def about(self) -> About:
        """What is known of every set of the archive."""
        sizes = SIZES.get(self.name)
        official = () if sizes is None else (f"official splits: train {sizes[0]}, test {sizes[1]}",)
        positive = () if self.positive is None else (f"positive class: {self.positive}",)
        return About(
            name=self.name,
            summary=f"series of the set {self.name} of the UCR and UEA archives, with a class each",
            licence="free for research; no licence is stated by the archive",
            citation=(
                "H. A. Dau et al.: The UCR time series archive. IEEE/CAA Journal of Automatica Sinica 6(6), 1293-1305 "
                "(2019). A. Bagnall et al.: The UEA multivariate time series classification archive, 2018. "
                "arXiv:1811.00075"
            ),
            homepage=HOMEPAGE,
            notes=("no patient identifiers: splits and intervals are by row", *official, *positive),
        )

    def load(self) -> Series:
        """All series of both files.

        Raises:
            UserError: for files that are absent or damaged, naming the line, or that do not belong together.
        """
        folder = find_published(self.path, HOMEPAGE)
        parts = {split: self._read(folder, split) for split in PARTS}
        series = [one for part in parts.values() for one in part.series]
        widths = {one.shape[1] for one in series}
        if len(widths) > 1:
            found = " and ".join(f"{part.path.name} {part.series[0].shape[1]}" for part in parts.values())
            raise UserError(f"{self.name}: the series must have the same dimensions everywhere; they have {found}.")
        classes = self._classes({label for part in parts.values() for label in part.labels})
        sizes = tuple(len(part.series) for part in parts.values())
        targets = [classes.index(label) for part in parts.values() for label in part.labels]
        names = [f"{split}[{number}]" for split, part in parts.items() for number in range(len(part.series))]
        width = widths.pop()
        return Series(
            values=np.concatenate(series),
            lengths=np.asarray([len(one) for one in series], np.int32),
            variables=tuple(Variable("value" if width == 1 else f"dimension {n}") for n in range(1, width + 1)),
            names=np.asarray(names, object),
            targets=np.asarray(targets, np.int32),
            task=Task("binary" if len(classes) == 2 else "multiclass", classes),
            patient=None,
            split=np.repeat(np.asarray(list(PARTS), "<U10"), sizes),
            row=np.arange(len(series), dtype=np.int32),
            about=self._about(parts, classes),
        )

    def _about(self, parts: dict[str, LabelledSeries], classes: tuple[str, ...]) -> About:
        """With what the files have told."""
        about, notes = self.about(), []
        if len(classes) == 2 and self.positive is None:
            notes.append(f"positive class: {classes[1]}, the second one")
        for part, official in zip(parts.values(), SIZES.get(self.name, ()), strict=False):
            if len(part.series) != official:
                notes.append(f"{part.path.name} has {len(part.series)} series, of {official} as published")
        return dataclasses.replace(about, notes=(*about.notes, *notes))

    def _read(self, folder: Path, split: str) -> LabelledSeries:
        places = [place for place in (folder / self.name, folder) if place.is_dir()]
        for ending, read in ((".tsv", _read_tsv), (".ts", read_ts)):
            for place in places:
                stem = f"{self.name}_{PARTS[split]}"
                exact = place / f"{stem}{ending}"
                found = [exact] if exact.is_file() else sorted(place.glob(f"{stem}_*{ending}"))
                if len(found) > 1:
                    names = ", ".join(file.name for file in found)
                    raise UserError(f"{place}: {stem}{ending} is not there, and several could be meant: {names}.")
                if found:
                    return read(found[0])
        hint = did_you_mean(self.name, [entry.name for entry in folder.iterdir() if entry.is_dir()])
        raise UserError(
            f"{self.name}: no {self.name}_{PARTS[split]}.tsv or .ts is in {' or '.join(map(str, places))}.{hint} Fetch "
            f"the set from {HOMEPAGE}."
        )

    def _classes(self, labels: set[str]) -> tuple[str, ...]:
        try:
            classes = tuple(sorted(labels, key=float))
        except ValueError:
            classes = tuple(sorted(labels))
        if len(classes) < 2:
            raise UserError(f"{self.name}: two or more classes are needed; the files have {', '.join(classes)} only.")
        if self.positive is None:
            return classes
        if len(classes) > 2 or self.positive not in classes:
            raise UserError(
                f"positive: {self.positive!r} must be one of two classes; {self.name} has {', '.join(classes)}."
            )
        return tuple(sorted(classes, key=lambda name: name == self.positive))


def _read_tsv(path: Path) -> LabelledSeries:
    """A class and values a line, divided by tabs."""
    found = LabelledSeries([], [], [], path)
    width = 0
    for number, line in enumerate(read_lines(path), 1):
        if not line:
            continue
        label, *cells = line.split("\t")
        width = width or len(cells)
        if len(cells) != width or not width:
            raise UserError(
                f"{path}, line {number}: {len(cells)} values after the class, where the first line has {width}. A "
                f"class and the same number of values, divided by tabs, are needed; NaN fills up shorter series."
            )
        values = read_values(path, number, cells)
        known = np.flatnonzero(~np.isnan(values))
        if not len(known):
            raise UserError(f"{path}, line {number}: the series has no value.")
        found.series.append(values[: known[-1] + 1, None])
        found.labels.append(_label(path, number, label))
        found.lines.append(number)
    if not found.series:
        raise UserError(f"{path} is empty. Check that it was copied completely.")
    return found


def _label(path: Path, line: int, text: str) -> str:
    """A class as text: ``1`` for ``1.0`` and for ``1.0000000e+00``."""
    try:
        number = float(text)
    except ValueError:
        number = None
    if not text or (number is not None and not number.is_integer()):
        raise UserError(f"{path}, line {line}: {text!r} is no class; a whole number or a name is needed.")
    return text if number is None else f"{number:.0f}"
