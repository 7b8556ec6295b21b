"""A sheet of pictures with captions, to look at data, augmentation or mistakes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from research.errors import UserError
from research.reporting import style

_SIDE, _GAP = 1.5, 0.14
_LINE = style.CAPTION_LINE / 72
_LETTERS = 21
"""Letters of a caption that fit side by side under a picture."""


def shown_pixels(images: Shaped[np.ndarray, "N ..."], white: float = 255.0) -> Shaped[np.ndarray, "N ..."]:
    """Pictures as uint8 ``[n, H, W]`` (grey) or ``[n, H, W, 3]`` on one scale for all, 0 black and ``white`` white.

    Values beyond the scale are clipped and no picture is stretched, so that brightness can be compared.

    Raises:
        UserError: if these are no pictures of 1 or 3 channels.
    """
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] not in (1, 3)) or 0 in images.shape[1:]:
        raise UserError(
            f"images: shape [n, height, width] or [n, height, width, 1 or 3] is needed, {images.shape} was given."
        )
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if images.dtype == np.uint8 and white == 255:
        return images
    scaled = np.asarray(images, dtype=np.float64) * (255 / white)
    return np.clip(np.nan_to_num(scaled).round(), 0, 255).astype(np.uint8)


def contact_sheet(
    path: Path,
    images: Shaped[np.ndarray, "N ..."],
    captions: Sequence[str],
    columns: int | None = None,
    title: str = "",
    facts: str = "",
    white: float = 255.0,
) -> Path:
    """Write a grid of pictures, each with its caption below; pixels are enlarged, not smoothed.

    Args:
        path: the PNG; an older one is replaced.
        images: ``[n, H, W]`` or ``[n, H, W, C]`` with 1 (grey) or 3 channels, uint8 or floats.
        captions: one per picture; line breaks are kept, long lines are folded.
        columns: pictures side by side; None chooses.
        title: above all.
        facts: below the title.
        white: the value that is drawn white, with 0 black: 255 for pictures as they are read, 1 for rescaled ones.

    Raises:
        UserError: if there is no picture, the captions are not as many, or the shape is not that of pictures.
        RunError: if the file cannot be written.
    """
    if len(images) == 0 or len(images) != len(captions):
        raise UserError(f"captions: one a picture is needed; {len(images)} pictures, {len(captions)} captions given.")
    pixels = shown_pixels(images, white)
    columns = min(len(images), columns or (8 if len(images) > 24 else 6))
    rows = -(-len(images) // columns)
    texts = [folded(caption) for caption in captions]
    lines = max(text.count("\n") + 1 for text in texts)
    tall = _SIDE * min(3.0, pixels.shape[1] / pixels.shape[2])
    down = tall + lines * _LINE + 0.2
    figure, top = style.new_figure(max(3.0, columns * (_SIDE + _GAP) + _GAP), rows * down, title, facts)
    for index, text in enumerate(texts):
        row, column = divmod(index, columns)
        axes = style.place(figure, _GAP + column * (_SIDE + _GAP), top + row * down, _SIDE, tall)
        draw(axes, pixels[index])
        style.caption(axes, text)
    return style.save(figure, path)


def draw(axes: Any, pixels: Shaped[np.ndarray, "H W ..."]) -> None:
    """One picture of `shown_pixels`."""
    axes.set_axis_off()
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def folded(caption: str, letters: int = _LETTERS) -> str:
    """A caption in lines that fit under a picture; a long file name is broken where its parts meet."""
    lines = []
    for line in caption.split("\n"):
        pieces = " ".join(part for word in line.split() for part in _pieces(word, letters))
        lines += textwrap.wrap(pieces, letters, break_on_hyphens=False) or [""]
    return "\n".join(style.plain(line) for line in lines)


def _pieces(word: str, letters: int) -> list[str]:
    """A word in parts of at most so many letters, each as long as can be, ending at ``/``, ``_``, ``-`` or ``.``."""
    found = []
    while len(word) > letters:
        end = 1 + max(word[:letters].rfind(sign) for sign in "/_-.")
        end = end or letters
        found.append(word[:end])
        word = word[end:]
    return [*found, word]
