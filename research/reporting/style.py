"""One look for all pictures: size, fonts, colours, header, and files that are replaced all at once or not at all.

Only matplotlib's objects are used, never `pyplot`, and they are imported when a picture is made: no global state, no
window, and `import research` stays fast.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import textwrap
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from research.errors import RunError

DPI = 150
BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7"
"""Colours that people with any colour vision tell apart (Okabe & Ito 2008)."""
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, GREY, PALE = "#222222", "#6E6E6E", "#DDDDDD"
BAND_ALPHA = 0.2
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 11.0, 9.0, 8.0
CAPTION_LINE = 10.0
"""Points from line to line of a caption."""

_LETTERS_PER_INCH = {TITLE_SIZE: 10.0, TEXT_SIZE: 13.5}
_MARGIN = 0.1
_TICKS, _LABEL, _TITLE, _GAP = 0.34, 0.26, 0.26, 0.16
"""Inches that tick labels, the label of an axis and the title of a panel take, and between panels."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """Pictures that were written.

    Attributes:
        paths: the files, in the order in which a reader wants them.
        notes: what was left out, and why.
    """

    paths: tuple[Path, ...]
    notes: tuple[str, ...] = ()


class Panel(NamedTuple):
    """One plot of a grid.

    Attributes:
        axes: where to draw.
        strip: a low plot below it with the same horizontal axis, or None.
        left: whether it is the first of its row, where the vertical axis is labelled.
        bottom: whether nothing is below it, where the horizontal axis is labelled.
    """

    axes: Any
    strip: Any | None
    left: bool
    bottom: bool


def new_figure(width: float, body: float, title: str, facts: str) -> tuple[Any, float]:
    """A figure with its header, and how far down (inches) that reaches.

    Positions are inches: a layout found by trial takes seconds where there are many panels.

    Args:
        width: of the figure, in inches.
        body: height below the header, in inches.
        title: what is shown, in bold.
        facts: what it rests on: numbers of examples, patients, cases.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = [
        (line, size, weight)
        for text, size, weight in ((title, TITLE_SIZE, "bold"), (facts, TEXT_SIZE, "normal"))
        for line in textwrap.wrap(text, max(20, int((width - 2 * _MARGIN) * _LETTERS_PER_INCH[size])))
    ]
    top = sum(size for _, size, _ in lines) * 1.35 / 72 + 0.16
    figure = Figure(figsize=(width, top + body), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    down = 0.08
    for line, size, weight in lines:
        look: dict[str, Any] = {"size": size, "weight": weight, "color": INK, "va": "top", "ha": "left"}
        figure.text(_MARGIN / width, 1 - down / (top + body), plain(line), **look)
        down += size * 1.35 / 72
    return figure, top


def place(figure: Any, left: float, top: float, width: float, height: float, **options: Any) -> Any:
    """Axes at a position in inches from the upper left corner."""
    whole = figure.get_size_inches()
    return figure.add_axes(
        (left / whole[0], 1 - (top + height) / whole[1], width / whole[0], height / whole[1]), **options
    )


def panels(
    count: int,
    sides: tuple[float, float],
    title: str,
    facts: str,
    columns: int = 5,
    strip: float = 0.0,
    below: float = 0.0,
    aside: float = 0.0,
    own_ticks: bool = False,
    titled: bool = False,
) -> tuple[Any, list[Panel]]:
    """A figure with a grid of plots.

    Args:
        count: how many plots.
        sides: width and height of each, in inches.
        title: of the figure.
        facts: below the title.
        columns: how many side by side at most.
        strip: height of a second plot below each, in inches; 0 for none.
        below: free height below the grid, for a legend.
        aside: free width to the right of each plot, for words.
        own_ticks: whether each plot has scales of its own; else those at the border serve all.
        titled: whether each plot has a title.
    """
    rows, columns = grid_shape(count, columns)
    width, height = sides
    first = _MARGIN + _LABEL + _TICKS
    named = _TITLE if titled else 0.0
    across = width + aside + _GAP + (_TICKS + _LABEL if own_ticks else 0.0)
    down = named + height + (strip + 0.1 if strip else 0.0) + (_TICKS + _LABEL if own_ticks else _GAP)
    body = rows * down + below + (0.0 if own_ticks else _TICKS + _LABEL - _GAP)
    whole = first + columns * across - (_TICKS + _LABEL if own_ticks else 0.0)
    figure, top = new_figure(max(4.2, whole), body, title, facts)
    found = []
    for index in range(count):
        row, column = divmod(index, columns)
        left, upper = first + column * across, top + row * down + named
        axes = place(figure, left, upper, width, height)
        lower = place(figure, left, upper + height + 0.1, width, strip, sharex=axes) if strip else None
        panel = Panel(axes, lower, column == 0, index + columns >= count)
        axes.tick_params(labelleft=own_ticks or panel.left, labelbottom=lower is None and (own_ticks or panel.bottom))
        if lower is not None:
            lower.tick_params(labelbottom=own_ticks or panel.bottom, labelleft=own_ticks or panel.left)
        found.append(panel)
    return figure, found


def plain(text: str) -> str:
    """A name as it is, for matplotlib, which would read dollars as a formula; to be applied once."""
    return text.replace("$", r"\$")


def shortened(text: str, longest: int) -> str:
    """A name on one line, cut with an ellipsis where it is longer than allowed."""
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def dress(axes: Any, x: str = "", y: str = "", title: str = "") -> None:
    """Labels and a quiet frame."""
    axes.set_xlabel(plain(x), size=TEXT_SIZE, color=INK)
    axes.set_ylabel(plain(y), size=TEXT_SIZE, color=INK)
    if title:
        axes.set_title(plain(title), size=TEXT_SIZE, color=INK, loc="left")
    axes.tick_params(which="both", labelsize=SMALL_SIZE, color=GREY, labelcolor=INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)


def square(axes: Any, end: float = 1.0) -> None:
    """Both axes from 0 to 1, or to an end below it, a little beyond so that lines on the border are seen whole."""
    from matplotlib.ticker import MaxNLocator

    axes.set(xlim=(-0.015 * end, 1.015 * end), ylim=(-0.015 * end, 1.015 * end))
    small = axes.bbox.width < 3 * DPI
    ticks = [0, 0.5, 1] if small else [0, 0.2, 0.4, 0.6, 0.8, 1]
    if end < 1:
        ticks = MaxNLocator(5 if small else 6, steps=[1, 2, 5, 10]).tick_values(0, end)
        ticks = [tick for tick in ticks if 0 <= tick <= end]
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])


def logarithmic(axes: Any) -> None:
    """A logarithmic vertical axis whose numbers are written as 0.01, or 1e-05, not as powers of 10.

    The parser of formulas that matplotlib needs for powers takes longer to start than the axis to draw.
    """
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(Plain())
    axes.yaxis.set_minor_formatter(Plain())


def legend(axes: Any) -> None:
    """A legend without a frame, where it covers least."""
    axes.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none", fontsize=SMALL_SIZE, labelcolor=INK)


def caption(axes: Any, text: str, above: bool = False) -> None:
    """Lines of text below or above a picture, at equal distances."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        y = 4 + CAPTION_LINE * (len(lines) - 1 - number) if above else -4 - CAPTION_LINE * number
        look: dict[str, Any] = {"ha": "center", "va": "baseline" if above else "top", "size": SMALL_SIZE, "color": INK}
        axes.annotate(line, (0.5, 1 if above else 0), (0, y), "axes fraction", "offset points", **look)


def grid_shape(count: int, most_columns: int = 5) -> tuple[int, int]:
    """Rows and columns for so many panels, filled as evenly as can be."""
    rows = -(-count // most_columns)
    return rows, -(-count // rows)


def save(figure: Any, path: Path) -> Path:
    """Write a PNG in place of any older one, all or nothing; equal figures give equal bytes.

    Raises:
        RunError: if the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            # A name in a script that the font lacks is shown as boxes; that is no reason to stop.
            warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
            figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunError(f"{path} cannot be written: {error.strerror or error}. Free space or choose a folder.") from None
    return path
