"""`PhysioNet2019Sepsis`: stays in intensive care hour by hour, and whether sepsis is near at each hour."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32

from research.data.about import About
from research.data.series import Series, Variable
from research.data.small_files import read_together, small_files
from research.data.source import Source, find_folder
from research.datasets import SUMMARIES
from research.errors import UserError
from research.spec import field
from research.task import NO_LABEL, Task

ADDRESS = "https://physionet.org/content/challenge-2019/1.0.0/"

UNITS = {
    "HR": "beats per minute",
    "O2Sat": "%",
    "Temp": "°C",
    "SBP": "mmHg",
    "MAP": "mmHg",
    "DBP": "mmHg",
    "Resp": "breaths per minute",
    "EtCO2": "mmHg",
    "BaseExcess": "mmol/L",
    "HCO3": "mmol/L",
    "FiO2": "%",
    "pH": "",
    "PaCO2": "mmHg",
    "SaO2": "%",
    "AST": "IU/L",
    "BUN": "mg/dL",
    "Alkalinephos": "IU/L",
    "Calcium": "mg/dL",
    "Chloride": "mmol/L",
    "Creatinine": "mg/dL",
    "Bilirubin_direct": "mg/dL",
    "Glucose": "mg/dL",
    "Lactate": "mg/dL",
    "Magnesium": "mmol/dL",
    "Phosphate": "mg/dL",
    "Potassium": "mmol/L",
    "Bilirubin_total": "mg/dL",
    "TroponinI": "ng/mL",
    "Hct": "%",
    "Hgb": "g/dL",
    "PTT": "seconds",
    "WBC": "1000/µL",
    "Fibrinogen": "mg/dL",
    "Platelets": "1000/µL",
}
"""The 8 vital signs and 26 laboratory values, with their units as the challenge states them."""

DESCRIPTORS = {
    "Age": "years",
    "Gender": "0 female, 1 male",
    "Unit1": "1 medical",
    "Unit2": "1 surgical",
    "HospAdmTime": "hours",
}
COLUMNS = (*UNITS, *DESCRIPTORS, "ICULOS", "SepsisLabel")


class PhysioNet2019Sepsis(Source):
    """Stays in intensive care of the PhysioNet/CinC Challenge 2019: an hour a step, and a label at each.

    Read from the folders as published, ``training_setA`` and ``training_setB``, a file of values between bars for each
    patient. Of the 40 variables 34 are measured over time; age, gender, the two columns of the unit and the hours from
    admission to the hospital to that to intensive care are ``static``; the hours since the latter are ``time``.

    A label is 1 from six hours before the onset of sepsis on, and 0 at all hours of patients without it.

    Reyna, Josef, Jeter et al., "Early prediction of sepsis from clinical data: the PhysioNet/Computing in Cardiology
    Challenge 2019", Critical Care Medicine 48 (2020).
    """

    path: str = field("physionet2019", help="folder of the sets; tried as given, then below $RESEARCH_DATA_DIR")
    sets: tuple[Literal["A", "B"], ...] = field(("A", "B"), help="which sets are read; each is of one hospital")

    def validate(self) -> None:
        """There are sets, each once."""
        if not self.sets or len(set(self.sets)) < len(self.sets):
            raise UserError(f"sets: A, B or both are needed, each once; {self.sets} was given.")

    def about(self) -> About:
        """Licence, citation and notes."""
        return About(
            name="physionet2019_sepsis",
            summary=SUMMARIES["physionet2019_sepsis"],
            licence="CC BY 4.0 (PhysioNet)",
            citation=(
                "M. A. Reyna, C. S. Josef, R. Jeter et al.: Early prediction of sepsis from clinical data: the "
                "PhysioNet/Computing in Cardiology Challenge 2019. Critical Care Medicine 48(2), 210-217 (2020). "
                "doi:10.1097/CCM.0000000000004145"
            ),
            homepage=ADDRESS,
            notes=(
                "patients by file; the sets A and B are of two hospitals",
                "label 1 from six hours before the onset of sepsis on",
                "age 100 stands for 90 or older",
            ),
        )

    def load(self) -> Series:
        """All patients of the sets.

        Raises:
            UserError: if a folder is absent or a file is not what is published, naming it and what is wrong.
        """
        root, files = find_folder(self.path), {}
        for letter in self.sets:
            place = _place(root, letter)
            for name, text in small_files(place, ".psv").items():
                if name in files:
                    raise UserError(f"{place}: the patient {name} is in another set already. Remove one of the files.")
                files[name] = text
        frame, number = read_together(root, files, COLUMNS, "|", dtype=np.float32, na_values=["NaN", "nan", ""])
        names = np.asarray(list(files), dtype=object)
        lengths = np.bincount(number).astype(np.int32)
        starts = np.cumsum(lengths) - lengths
        hours, label = frame["ICULOS"].to_numpy(), frame["SepsisLabel"].to_numpy()
        later = np.r_[True, np.diff(hours) > 0]
        later[starts] = True
        for column, right, what in (
            ("SepsisLabel", np.isin(label, (0, 1)), "is neither 0 nor 1"),
            ("ICULOS", ~np.isnan(hours), "is no hour"),
            ("ICULOS", later, "is not later than the hour before; the rows must be in the order of time"),
        ):
            if not right.all():
                row = int(np.flatnonzero(~right)[0])
                raise UserError(
                    f"{root}, file {names[number[row]]}.psv, line {row - starts[number[row]] + 2}: "
                    f"{column} {frame[column].iloc[row]:g} {what}."
                )
        targets = np.full((len(names), int(lengths.max())), NO_LABEL, np.int32)
        targets[number, np.arange(len(number)) - starts[number]] = label
        static: Float32[np.ndarray, "N D"] = frame[list(DESCRIPTORS)].groupby(number).first().to_numpy(np.float32)
        return Series(
            values=frame[list(UNITS)].to_numpy(np.float32),
            lengths=lengths,
            variables=tuple(Variable(name, unit) for name, unit in UNITS.items()),
            time=hours,
            time_unit="hours",
            static=static,
            static_variables=tuple(Variable(name, unit) for name, unit in DESCRIPTORS.items()),
            names=names,
            targets=targets,
            task=Task("binary", ("no sepsis", "sepsis"), per_step=True, scorers=("sepsis_utility",)),
            patient=names,
            split=None,
            row=np.arange(len(names), dtype=np.int32),
            about=self.about(),
        )


def _place(root: Path, letter: str) -> Path:
    """The folder of a set; the publisher's download has one more around both."""
    name = f"training_set{letter}"
    for place in (root / name, root / "training" / name):
        if place.is_dir():
            return place
    raise UserError(f"{root} has no folder {name}. Fetch it from {ADDRESS}, or choose the other set with sets=...")
