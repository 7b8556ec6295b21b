"""File formats that a user's own data comes in."""

from research.data.formats.csv import CSV
from research.data.formats.dicom import DICOM
from research.data.formats.image_folder import ImageFolder
from research.data.formats.images_csv import ImagesCSV

__all__ = ["CSV", "DICOM", "ImageFolder", "ImagesCSV"]
