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
_NOTHING = "nothing speaks for it"


def explanation_sheet(
    path: Path,
    images: Shaped[np.ndarray, "N ..."],
    cams: Float[np.ndarray, "N H W"] | None,
    gradients: Float[np.ndarray, "N H W"],
    captions: Sequence[str],
    title: str = "",
    explained: str = "",
    white: float = 255.0,
) -> Path:
    """Write pictures, each above its class activation map (laid over it), where there is one, and its input gradient.

    Such maps show what moved this model's answer on this picture, not what is right, and look convincing even for
    models that learnt nothing (Adebayo et al., NeurIPS 2018).

    Args:
        path: the PNG; an older one is replaced.
        images: ``[n, H, W]`` or ``[n, H, W, C]`` with 1 or 3 channels.
        cams: Grad-CAM (Selvaraju et al., ICCV 2017) at every pixel, 0 to 1 in each picture, or all 0; None for none.
        gradients: magnitude of the gradient by the pixels, 0 and above (Simonyan et al. 2013); the scale of each
            picture is its own.
        captions: one per picture.
        title: above all.
        explained: which answer the maps are about, for the line below the title.
        white: as in `research.reporting.contact_sheet.contact_sheet`.

    Raises:
        UserError: if there is no picture, the numbers differ, or the shape is not that of pictures.
        RunError: if the file cannot be written.
    """
    lengths = {"images": len(images), "gradients": len(gradients), "captions": len(captions)}
    lengths |= {} if cams is None else {"cams": len(cams)}
    if len(images) == 0 or len(set(lengths.values())) != 1:
        raise UserError(f"explanation: as many of each are needed, one or more; given: {lengths}.")
    pixels = shown_pixels(images, white)
    blocks, columns = style.grid_shape(len(images), _COLUMNS)
    texts = [folded(caption, 22) for caption in captions]
    tall = _SIDE * min(3.0, pixels.shape[1] / pixels.shape[2])
    above = (max(text.count("\n") for text in texts) + 1) * style.CAPTION_LINE / 72 + 0.08
    names = ("picture", *(() if cams is None else ("Grad-CAM",)), "input gradient")
    down = above + len(names) * (tall + _GAP) + 0.1
    cam = "" if cams is None else "Grad-CAM laid over the picture, 1 at its largest in each; "
    facts = f"{explained}{'. ' if explained else ''}{cam}input gradient, 1 at its 99.5th percentile in each picture"
    figure, top = style.new_figure(max(4.5, _LEFT + columns * (_SIDE + _GAP) + 0.6), blocks * down, title, facts)
    for index, text in enumerate(texts):
        block, column = divmod(index, columns)
        upper = top + block * down + above
        places = [
            style.place(figure, _LEFT + column * (_SIDE + _GAP), upper + row * (tall + _GAP), _SIDE, tall)
            for row in range(len(names))
        ]
        draw(places[0], pixels[index])
        if cams is not None:
            _lay_over(places[1], pixels[index], cams[index])
        _show_gradient(places[-1], gradients[index])
        look: dict[str, Any] = {"size": style.SMALL_SIZE, "color": style.INK}
        style.caption(places[0], text, above=True)
        if column == 0:
            for axes, name in zip(places, names, strict=True):
                axes.text(-0.06, 0.5, name, rotation=90, ha="right", va="center", transform=axes.transAxes, **look)
    right = _LEFT + columns * (_SIDE + _GAP)
    for row, name in enumerate(names[1:], start=1):
        colours = _laid_over_grey() if name == "Grad-CAM" else _GRADIENT_COLOURS
        _bar(figure, style.place(figure, right, top + above + (row + 0.05) * (tall + _GAP), 0.1, 0.9 * tall), colours)
    return style.save(figure, path)


def _lay_over(axes: Any, pixels: np.ndarray, cam: np.ndarray) -> None:
    grey = pixels if pixels.ndim == 2 else np.round(pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    # Grey below, so that every colour is the map's; clear where the map is 0, so that the anatomy is seen.
    draw(axes, grey)
    if not cam.any():
        look: dict[str, Any] = {"size": style.SMALL_SIZE, "color": "white", "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, _NOTHING, transform=axes.transAxes, bbox={"color": style.GREY, "alpha": 0.7}, **look)
        return
    axes.imshow(cam, cmap=_CAM_COLOURS, alpha=_opacity(cam), vmin=0, vmax=1, interpolation="bilinear")


def _opacity(cam: np.ndarray) -> np.ndarray:
    return 0.7 * np.sqrt(np.clip(cam, 0, 1))


def _laid_over_grey() -> Any:
    """The colours of the map as they look on middle grey, for the scale."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    values = np.linspace(0, 1, 256)
    opacity = _opacity(values)[:, None]
    return ListedColormap(opacity * matplotlib.colormaps[_CAM_COLOURS](values)[:, :3] + (1 - opacity) * 0.5)


def _show_gradient(axes: Any, gradient: np.ndarray) -> None:
    largest = float(np.percentile(gradient, _TOP)) or float(gradient.max()) or 1.0
    axes.set_axis_off()
    axes.imshow(gradient / largest, cmap=_GRADIENT_COLOURS, interpolation="nearest", vmin=0, vmax=1)


def _bar(figure: Any, axes: Any, colours: Any) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), colours), cax=axes)
    bar.outline.set_visible(False)
    bar.set_ticks([0, 0.5, 1])
    axes.tick_params(labelsize=style.SMALL_SIZE, color=style.GREY)
