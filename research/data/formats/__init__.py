"""File formats that a user's own data comes in."""

from research.data.formats.csv import CSV
from research.data.formats.dicom import DICOM
from research.data.formats.image_folder import ImageFolder
from research.data.formats.images_csv import ImagesCSV
from research.data.formats.meds import MEDS
from research.data.formats.series_csv import SeriesCSV
from research.data.formats.signal_folder import SignalFolder

__all__ = ["CSV", "DICOM", "MEDS", "ImageFolder", "ImagesCSV", "SeriesCSV", "SignalFolder"]
