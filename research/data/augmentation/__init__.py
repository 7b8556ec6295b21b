"""Augmentation: random changes of training images and series, made on the device inside the compiled step."""

from research.data.augmentation.augmentation import Augmentation
from research.data.augmentation.draws import Draw
from research.data.augmentation.geometry import Fill, affine, mirror, rectangles, warp
from research.data.augmentation.intensity import add_noise, brighten, erase, stretch_contrast
from research.data.augmentation.mixing import Mixed, cutmix, mixup, partners
from research.data.augmentation.series import SeriesAugmentation

__all__ = [
    "Augmentation",
    "Draw",
    "Fill",
    "Mixed",
    "SeriesAugmentation",
    "add_noise",
    "affine",
    "brighten",
    "cutmix",
    "erase",
    "mirror",
    "mixup",
    "partners",
    "rectangles",
    "stretch_contrast",
    "warp",
]
