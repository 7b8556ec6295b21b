"""Data: sources, splits by patient, the leakage gate, preprocessing, and the order of the rows."""

from research.data.about import About
from research.data.catalog import SyntheticTable, Wisconsin, catalog, parse_source
from research.data.dataset import BY_ROW, SPLITS, Dataset
from research.data.formats import CSV
from research.data.images import Images
from research.data.leakage import Leakage, check_leakage
from research.data.new_rows import NewRows, read_new
from research.data.order import batches, epoch_order
from research.data.prepare import Data, Examples, Prepared
from research.data.preprocessing import FittedPreprocessing, Preprocessing
from research.data.source import Source
from research.data.split import Split
from research.data.table import Column, Table

__all__ = [
    "BY_ROW",
    "CSV",
    "SPLITS",
    "About",
    "Column",
    "Data",
    "Dataset",
    "Examples",
    "FittedPreprocessing",
    "Images",
    "Leakage",
    "NewRows",
    "Prepared",
    "Preprocessing",
    "Source",
    "Split",
    "SyntheticTable",
    "Table",
    "Wisconsin",
    "batches",
    "catalog",
    "check_leakage",
    "epoch_order",
    "parse_source",
    "read_new",
]
