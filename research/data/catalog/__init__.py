"""Datasets by name, and the text by which a command line means a source."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

from research.data.catalog.cgm import CGM
from research.data.catalog.cifar10 import CIFAR10
from research.data.catalog.medmnist import MedMNIST
from research.data.catalog.mitbih import MITBIH
from research.data.catalog.physionet2012 import PhysioNet2012
from research.data.catalog.physionet2019 import PhysioNet2019Sepsis
from research.data.catalog.ptbxl import PTBXL
from research.data.catalog.synthetic_ecg import SyntheticECG
from research.data.catalog.synthetic_records import SyntheticRecords
from research.data.catalog.synthetic_table import SyntheticTable
from research.data.catalog.synthetic_vitals import SyntheticVitals
from research.data.catalog.synthetic_xray import SyntheticXray
from research.data.catalog.tfds_catalogue import TFDS
from research.data.catalog.ucr import UCR
from research.data.catalog.wisconsin import Wisconsin
from research.data.formats.csv import CSV
from research.data.formats.dicom import DICOM
from research.data.formats.image_folder import ImageFolder
from research.data.formats.images_csv import ImagesCSV
from research.data.formats.meds import MEDS
from research.data.formats.series_csv import SeriesCSV
from research.data.formats.signal_folder import SignalFolder
from research.data.source import Source
from research.datasets import KINDS
from research.errors import UserError, did_you_mean
from research.spec import apply_overrides, check

__all__ = [
    "CGM",
    "CIFAR10",
    "MITBIH",
    "PTBXL",
    "TFDS",
    "UCR",
    "MedMNIST",
    "PhysioNet2012",
    "PhysioNet2019Sepsis",
    "SyntheticECG",
    "SyntheticRecords",
    "SyntheticTable",
    "SyntheticVitals",
    "SyntheticXray",
    "Wisconsin",
    "catalog",
    "kinds",
    "parse_source",
]


def catalog() -> dict[str, type[Source]]:
    """Every dataset that its name alone means: the name and its class, which has a default for every field.

    Those that are neither made here nor fetched are looked for below ``$RESEARCH_DATA_DIR``.
    """
    return {
        "cgm": CGM,
        "cifar10": CIFAR10,
        "mitbih": MITBIH,
        "ptbxl": PTBXL,
        "physionet2012": PhysioNet2012,
        "physionet2019_sepsis": PhysioNet2019Sepsis,
        "synthetic_ecg": SyntheticECG,
        "synthetic_records": SyntheticRecords,
        "synthetic_table": SyntheticTable,
        "synthetic_vitals": SyntheticVitals,
        "synthetic_xray": SyntheticXray,
        "wisconsin": Wisconsin,
    }


def kinds() -> dict[str, Callable[[str], Source]]:
    """Sources that a text ``KIND:WHERE`` means: what makes them of WHERE, which `research.datasets.KINDS` describes."""
    return {
        "medmnist": lambda name: MedMNIST(name=name),  # pyright: ignore[reportArgumentType]
        "tfds": lambda name: TFDS(dataset=name),
        "ucr": lambda name: UCR(name=name),
        "csv": lambda path: CSV(path=path),
        "image_folder": lambda path: ImageFolder(path=path),
        "images_csv": lambda path: ImagesCSV(path=path),
        "dicom": lambda path: DICOM(path=path),
        "series_csv": lambda path: SeriesCSV(path=path),
        "meds": lambda path: MEDS(path=path),
        "signal_folder": lambda path: SignalFolder(path=path),
    }


def parse_source(text: str) -> Source:
    """The source that a text means.

    ``wisconsin``, ``synthetic_table?patients=500``, ``medmnist:breastmnist?size=64``,
    ``csv:heart.csv?target=num&positive=>0&categorical=cp,thal``: a name of `catalog`, or one of `kinds`, a colon and
    where it is, then fields after ``?``, joined by ``&``. In values, ``%26`` stands for ``&`` (percent-encoding, as in
    addresses).

    Raises:
        UserError: for an unknown name or field, with the closest ones, or a value of the wrong type or out of range.
    """
    head, _, fields = text.partition("?")
    name, colon, where = (part.strip() for part in head.partition(":"))
    known, made = catalog(), kinds()
    if colon and name.lower() in made:
        if not where:
            raise UserError(f"{text!r} lacks what follows the colon; write {name.lower()}:{KINDS[name.lower()].where}.")
        source = made[name.lower()](where)
    elif not colon and name in known:
        source = known[name]()
    else:
        hint = did_you_mean(name, [*known, *made])
        if not colon and name.lower() in made:
            hint = f" Write {name.lower()}:{KINDS[name.lower()].where}."
        if not colon and name.lower().endswith((".csv", ".data", ".tsv", ".txt")):
            hint = f" For a file write 'csv:{name}'."
        forms = ", ".join(f"{kind}:{KINDS[kind].where.partition('?')[0]}" for kind in made)
        raise UserError(f"{text!r} is no known data.{hint} Known: {', '.join(known)}, {forms}.")
    source = apply_overrides(source, [unquote(part) for part in fields.split("&") if part])
    check(source)
    return source
