"""Data: sources, splits by patient, the leakage gate, preprocessing, augmentation, order of the rows, and feeds."""

from research.data.about import About
from research.data.augmentation import Augmentation, SeriesAugmentation
from research.data.catalog import (
    CGM,
    CIFAR10,
    MITBIH,
    PTBXL,
    TFDS,
    UCR,
    MedMNIST,
    PhysioNet2012,
    PhysioNet2019Sepsis,
    SyntheticECG,
    SyntheticRecords,
    SyntheticTable,
    SyntheticVitals,
    SyntheticXray,
    Wisconsin,
    catalog,
    parse_source,
)
from research.data.dataset import BY_ROW, SPLITS, Dataset
from research.data.event_data import EventData, PreparedEvents
from research.data.events import Events
from research.data.formats import CSV, DICOM, MEDS, ImageFolder, ImagesCSV, SeriesCSV, SignalFolder
from research.data.image_data import ImageData, PreparedImages
from research.data.images import Images
from research.data.leakage import Leakage, check_leakage
from research.data.new_rows import NewRows, read_new
from research.data.order import batches, epoch_order
from research.data.pixels import Pixels
from research.data.prepare import Data, Examples, Prepared
from research.data.preprocessing import FittedPreprocessing, Preprocessing
from research.data.series import Series, Variable
from research.data.series_data import PreparedSeries, SeriesData
from research.data.series_statistics import Statistics
from research.data.signals import Filter
from research.data.source import Source
from research.data.split import Split
from research.data.table import Column, Table
from research.data.table_data import PreparedTable, TableData
from research.data.windows import Forecast

__all__ = [
    "BY_ROW",
    "CGM",
    "CIFAR10",
    "CSV",
    "DICOM",
    "MEDS",
    "MITBIH",
    "PTBXL",
    "SPLITS",
    "TFDS",
    "UCR",
    "About",
    "Augmentation",
    "Column",
    "Data",
    "Dataset",
    "EventData",
    "Events",
    "Examples",
    "Filter",
    "FittedPreprocessing",
    "Forecast",
    "ImageData",
    "ImageFolder",
    "Images",
    "ImagesCSV",
    "Leakage",
    "MedMNIST",
    "NewRows",
    "PhysioNet2012",
    "PhysioNet2019Sepsis",
    "Pixels",
    "Prepared",
    "PreparedEvents",
    "PreparedImages",
    "PreparedSeries",
    "PreparedTable",
    "Preprocessing",
    "Series",
    "SeriesAugmentation",
    "SeriesCSV",
    "SeriesData",
    "SignalFolder",
    "Source",
    "Split",
    "Statistics",
    "SyntheticECG",
    "SyntheticRecords",
    "SyntheticTable",
    "SyntheticVitals",
    "SyntheticXray",
    "Table",
    "TableData",
    "Variable",
    "Wisconsin",
    "batches",
    "catalog",
    "check_leakage",
    "epoch_order",
    "parse_source",
    "read_new",
]
