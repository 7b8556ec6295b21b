"""What data there is, a line each: `research list` shows it without the imports that the sources themselves need."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """Sources that a text ``KIND:WHERE`` means.

    Attributes:
        where: what stands for WHERE.
        summary: what they are.
    """

    where: str
    summary: str


SUMMARIES = {
    "cgm": "34,890 readings of glucose of 19 people, five minutes apart; glucose 30 and 60 minutes ahead",
    "cifar10": "60,000 colour pictures of 32 by 32 pixels; ten everyday classes, 6,000 of each",
    "mitbih": "heartbeats of 44 half-hour recordings of 43 patients, 360 Hz; the five classes of AAMI",
    "physionet2012": "first 48 hours of 4,000 stays in intensive care a set, 37 variables; death in hospital",
    "physionet2019_sepsis": (
        "stays in intensive care of 40,336 patients hour by hour, 40 variables; sepsis at each hour"
    ),
    "ptbxl": "electrocardiograms of 12 leads and 10 s at 100 Hz; superdiagnostic labels, any number each",
    "synthetic_ecg": "made-up electrocardiograms, one lead; label drawn from a known risk that grows as T falls",
    "synthetic_records": "made-up records of coded events; label drawn from a known risk by a hidden condition and age",
    "synthetic_table": "made-up patients: 8 measurements with interactions; label drawn from a known risk",
    "synthetic_vitals": "made-up stays of 48 h: 7 vital signs at irregular times; label drawn from a known risk",
    "synthetic_xray": "drawn chest films of made-up patients; label drawn from a known risk that grows with an opacity",
    "wisconsin": "569 breast biopsies, 30 measurements of cell nuclei; benign or malignant",
}
"""Datasets that their name alone means: what a row is and what is predicted; those of `research.data.catalog`."""

KINDS = {
    "medmnist": Kind("NAME", "one of the twelve 2D sets of MedMNIST v2"),
    "tfds": Kind("NAME", "a dataset of TFDS' catalogue, as ArrayRecord"),
    "ucr": Kind("NAME", "a set of the UCR and UEA archives of time series"),
    "csv": Kind("FILE?target=COLUMN", "any table of yours"),
    "image_folder": Kind("FOLDER", "your pictures, a folder per class"),
    "images_csv": Kind("FILE?target=COLUMN", "your pictures, named in a table"),
    "dicom": Kind("FOLDER?labels=FILE&target=COLUMN", "your films, labels in a table"),
    "series_csv": Kind("FILE?target=COLUMN&patient=COLUMN", "your series, in a table"),
    "meds": Kind("FILE?task=TASK", "patient records in MEDS, a file or a folder"),
    "signal_folder": Kind("FOLDER?labels=FILE&target=COLUMN", "your WFDB records, labels in a table"),
}
