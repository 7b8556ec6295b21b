"""Where a model looks: pictures with Grad-CAM and input gradients side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from research.errors import UserError
from research.reporting import style
from research.reporting.contact_sheet import draw, folded, shown_pixels

_COLUMNS = 6
_SIDE, _GAP, _LEFT = 1.6, 0.1, 0.34
_CAM_COLOURS, _GRADIENT_COLOURS = "plasma", "magma"
_TOP = 99.5
"""Percentile of a picture's gradients that is drawn brightest: a single pixel must not darken all others."""


def explanation_sheet(
    path: Path,
    images: Shaped[np.ndarray, "N ..."],
    cams: Float[np.ndarray, "N h w"],
    gradients: Float[np.ndarray, "N H W"],
    captions: Sequence[str],
    title: str = "",
    white: float = 255.0,
) -> Path:
    """Write pictures, each above its class activation map (laid over it) and its input gradient.

    Such maps show what moved this model's answer on this picture, not what is right, and look convincing even for
    models that learnt nothing (Adebayo et al., NeurIPS 2018).

    Args:
        path: the PNG; an older one is replaced.
        images: ``[n, H, W]`` or ``[n, H, W, C]`` with 1 or 3 channels.
        cams: Grad-CAM (Selvaraju et al., ICCV 2017), 0 to 1, at any resolution; drawn smoothly.
        gradients: magnitude of the gradient by the pixels, 0 and above (Simonyan et al. 2013); the scale of each
            picture is its own.
        captions: one per picture.
        title: above all.
        white: as in `research.reporting.contact_sheet.contact_sheet`.

    Raises:
        UserError: if there is no picture, the numbers differ, or the shape is not that of pictures.
        RunError: if the file cannot be written.
    """
    lengths = {"images": len(images), "cams": len(cams), "gradients": len(gradients), "captions": len(captions)}
    if len(images) == 0 or len(set(lengths.values())) != 1:
        raise UserError(f"explanation: as many of each are needed, one or more; given: {lengths}.")
    pixels = shown_pixels(images, white)
    blocks, columns = style.grid_shape(len(images), _COLUMNS)
    texts = [folded(caption, 22) for caption in captions]
    tall = _SIDE * min(3.0, pixels.shape[1] / pixels.shape[2])
    above = (max(text.count("\n") for text in texts) + 1) * style.CAPTION_LINE / 72 + 0.08
    down = above + 3 * (tall + _GAP) + 0.1
    facts = "Grad-CAM laid over the picture, and the gradient by its pixels; shares of the largest in each picture"
    figure, top = style.new_figure(max(4.5, _LEFT + columns * (_SIDE + _GAP) + 0.6), blocks * down, title, facts)
    for index, text in enumerate(texts):
        block, column = divmod(index, columns)
        upper = top + block * down + above
        places = [
            style.place(figure, _LEFT + column * (_SIDE + _GAP), upper + row * (tall + _GAP), _SIDE, tall)
            for row in range(3)
        ]
        _explain(places, pixels[index], cams[index], gradients[index])
        look: dict[str, Any] = {"size": style.SMALL_SIZE, "color": style.INK}
        style.caption(places[0], text, above=True)
        if column == 0:
            for axes, name in zip(places, ("picture", "Grad-CAM", "input gradient"), strict=True):
                axes.text(-0.06, 0.5, name, rotation=90, ha="right", va="center", transform=axes.transAxes, **look)
    right = _LEFT + columns * (_SIDE + _GAP)
    for row, colours in ((1, _CAM_COLOURS), (2, _GRADIENT_COLOURS)):
        _bar(figure, style.place(figure, right, top + above + (row + 0.05) * (tall + _GAP), 0.1, 0.9 * tall), colours)
    return style.save(figure, path)


def _explain(places: Sequence[Any], pixels: np.ndarray, cam: np.ndarray, gradient: np.ndarray) -> None:
    height, width = pixels.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    draw(places[0], pixels)
    grey = pixels if pixels.ndim == 2 else np.round(pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    # Grey below, so that every colour is the map's; clear where the map is 0, so that the anatomy is seen.
    draw(places[1], grey)
    cam = np.clip(cam, 0, 1)
    settings: dict[str, Any] = {"vmin": 0, "vmax": 1, "extent": extent}
    places[1].imshow(cam, cmap=_CAM_COLOURS, alpha=0.7 * np.sqrt(cam), interpolation="bilinear", **settings)
    largest = float(np.percentile(gradient, _TOP)) or float(gradient.max()) or 1.0
    places[2].set_axis_off()
    places[2].imshow(gradient / largest, cmap=_GRADIENT_COLOURS, interpolation="nearest", **settings)


def _bar(figure: Any, axes: Any, colours: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), colours), cax=axes)
    bar.outline.set_visible(False)
    bar.set_ticks([0, 0.5, 1])
    axes.tick_params(labelsize=style.SMALL_SIZE, color=style.GREY)
