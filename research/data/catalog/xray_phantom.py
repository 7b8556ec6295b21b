"""The drawing of one chest-film phantom: a made-up person, how the film was taken, and an opacity in one lung.

Lengths are in halves of the picture's width; ``u`` grows to the right and ``v`` downwards from the middle of the
chest, so the heart lies at positive ``u``, as on a film seen from the front. Shapes are made of sums, products and
quotients alone: these are rounded in the same way on every machine, exponentials are not.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8

DRAWING_VERSION = 2
"""To be raised by every change that changes a pixel."""

REACH = 1.25
"""Longest half axis of an opacity over its nominal radius."""

LETTERS = {
    "R": ("11110", "10001", "11110", "10100", "10011"),
    "L": ("10000", "10000", "10000", "10000", "11111"),
}
"""Lead markers; R stands at the patient's right, the left of the film."""

PIXELS_AT_ONCE = 8192
"""Larger pictures are drawn in bands of rows, which stay in the processor's cache."""

Picture = Float32[np.ndarray, "rows S"]


class Anatomy(NamedTuple):
    """What all films of one person share."""

    width: float
    """Half the width of the chest."""
    apex: float
    """Height of the lungs above their middle."""
    taper: float
    """How far the lungs lean to the midline at the top."""
    diaphragm: float
    """Level of its domes."""
    tilt: float
    """How much lower the dome below the heart is."""
    heart: float
    """Size of the heart, 1 at the average."""
    heart_axis: float
    """Tangent of half the angle between the heart's long axis and the horizontal."""
    mediastinum: float
    """Half the width of the vessels and windpipe between the lungs."""
    rib_spacing: float
    rib_slope: float
    """How steeply the ribs fall from spine to side."""
    rib_start: float
    """Where the first rib is, as a share of the spacing."""
    bone: float
    """Density of the bones, 1 at the average."""
    tissue: float
    """Attenuation of the chest wall."""
    hilum: float
    """Attenuation of the vessels at the root of the lungs."""
    exposure: float
    """Brightness that the person's build adds to each of their films."""

    @classmethod
    def draw(cls, draw: np.random.Generator) -> Anatomy:
        """One person."""
        return cls._make(_uniform(ANATOMY_RANGES, draw))


ANATOMY_RANGES: dict[str, tuple[float, float]] = {
    "width": (0.84, 1.0),
    "apex": (0.74, 0.88),
    "taper": (0.08, 0.2),
    "diaphragm": (0.4, 0.56),
    "tilt": (0.0, 0.08),
    "heart": (0.82, 1.2),
    "heart_axis": (0.15, 0.4),
    "mediastinum": (0.1, 0.16),
    "rib_spacing": (0.2, 0.27),
    "rib_slope": (0.15, 0.45),
    "rib_start": (0.0, 1.0),
    "bone": (0.7, 1.3),
    "tissue": (0.5, 0.6),
    "hilum": (0.05, 0.14),
    "exposure": (-0.04, 0.04),
}
"""Each number is uniform, independently of the others."""


class Acquisition(NamedTuple):
    """How one film was taken, and where an opacity lies if there is one; never how large it is."""

    turn: float
    """Tangent of half the angle by which the person stands askew."""
    right: float
    down: float
    zoom: float
    breath: float
    """How far the diaphragm is below its usual level."""
    exposure: float
    contrast: float
    curve: float
    """Bend of the tone curve."""
    noise: float
    """Standard deviation of the grain."""
    marker_side: float
    """Marker at the left below 0.5, at the right from there."""
    marker_right: float
    marker_down: float
    opacity_side: float
    """In the left of the film below 0.5, in the right from there."""
    opacity_across: float
    """Distance from the midline as a share of the chest's half width."""
    opacity_down: float
    opacity_stretch: float
    """Half axes of the opacity are its radius times and over this."""
    opacity_turn: float

    @classmethod
    def draw(cls, draw: np.random.Generator) -> Acquisition:
        """One film."""
        return cls._make(_uniform(ACQUISITION_RANGES, draw))


ACQUISITION_RANGES: dict[str, tuple[float, float]] = {
    "turn": (-0.04, 0.04),
    "right": (-0.06, 0.06),
    "down": (-0.06, 0.06),
    "zoom": (0.94, 1.06),
    "breath": (-0.04, 0.06),
    "exposure": (-0.04, 0.04),
    "contrast": (0.93, 1.07),
    "curve": (-0.1, 0.15),
    "noise": (0.008, 0.02),
    "marker_side": (0.0, 1.0),
    "marker_right": (0.02, 0.08),
    "marker_down": (0.02, 0.12),
    "opacity_side": (0.0, 1.0),
    "opacity_across": (0.44, 0.6),
    "opacity_down": (-0.45, 0.1),
    "opacity_stretch": (1 / REACH, REACH),
    "opacity_turn": (-1.0, 1.0),
}
"""Each number is uniform, independently of the others."""


def _uniform(ranges: dict[str, tuple[float, float]], draw: np.random.Generator) -> Iterator[float]:
    """One number of each range, in order."""
    numbers = draw.random(len(ranges)).tolist()
    return (low + (high - low) * number for (low, high), number in zip(ranges.values(), numbers, strict=True))


def opacity_radius(severity: float) -> float:
    """Radius of an opacity, from 0.12 at the slightest to 0.34 at severity 1; 0 where there is none."""
    return 0.12 + 0.22 * severity if severity > 0 else 0.0


def opacity_density(severity: float) -> float:
    """Attenuation at the middle of an opacity, from 0.10 at the slightest to 0.62 at severity 1; 0 without one."""
    return 0.10 + 0.52 * severity if severity > 0 else 0.0


def draw_film(anatomy: Anatomy, severity: float, size: int, draw: np.random.Generator) -> UInt8[np.ndarray, "S S 1"]:
    """One film of a person.

    Args:
        anatomy: the person.
        severity: size and density of the opacity, 0 (none) to 1; no other part of the film depends on it.
        size: height and width in pixels.
        draw: of the film, new; as much is drawn from it whatever the severity.
    """
    film = Acquisition.draw(draw)
    tone = np.empty((size, size), np.float32)
    rows = max(1, PIXELS_AT_ONCE // size)
    for first in range(0, size, rows):
        u, v = _body(film, size, slice(first, first + rows))
        density, air = _chest(anatomy, film, u, v)
        if severity > 0:
            density += opacity_density(severity) * air * _opacity(anatomy, film, u, v, severity)
        tone[first : first + rows] = density
    tone *= film.contrast
    tone += 0.1 + anatomy.exposure + film.exposure
    _clip(tone)
    tone += film.curve * tone * (1 - tone)
    _mark(tone, film)
    tone += film.noise * draw.standard_normal((size, size), dtype=np.float32)
    _clip(tone)
    tone *= 255
    tone += 0.5
    return tone.astype(np.uint8)[:, :, None]


def opacity_place(anatomy: Anatomy, film: Acquisition, size: int) -> tuple[float, float]:
    """Row and column, in pixels, of the middle of the opacity."""
    u = _side(film.opacity_side) * film.opacity_across * anatomy.width
    cosine, sine = _turned(film.turn)
    x = film.zoom * (cosine * u - sine * film.opacity_down) + film.right
    y = film.zoom * (sine * u + cosine * film.opacity_down) + film.down
    return (y + 1) * size / 2 - 0.5, (x + 1) * size / 2 - 0.5


def _body(film: Acquisition, size: int, rows: slice) -> tuple[Picture, Picture]:
    """Coordinates in the body, ``u`` and ``v``, of each pixel of some rows."""
    across = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
    x, y = (across - film.right)[None, :], (across[rows] - film.down)[:, None]
    cosine, sine = _turned(film.turn)
    return (cosine * x + sine * y) / film.zoom, (cosine * y - sine * x) / film.zoom


def _chest(anatomy: Anatomy, film: Acquisition, u: Picture, v: Picture) -> tuple[Picture, Picture]:
    """Attenuation of everything but the opacity, and where there is air that an opacity can fill, 0 to 1."""
    side = np.abs(u)
    dome = _square((side - 0.42 * anatomy.width) / anatomy.width)
    dome *= 0.55
    dome += anatomy.tilt * u + (anatomy.diaphragm + film.breath)
    above = _step(dome - v, 0.05)
    heart = _heart(anatomy, film, u, v)
    solid = np.maximum(heart, _step(anatomy.mediastinum + 0.12 * _square(v) - np.abs(u - 0.02), 0.07))
    solid = np.maximum(solid, _blob(u - 0.13, v + 0.3, 0.13, 0.13))  # the arch of the aorta
    trunk = _step(anatomy.width + 0.1 - 0.75 * _square(np.minimum(v + 0.45, 0)) - side, 0.06)
    density = trunk * (anatomy.tissue + 0.08 + anatomy.bone * _bones(anatomy, u, v, side))
    air = above * _lungs(anatomy, side, v) * (1 - solid)
    density -= 0.42 * air + 0.08 * above * (trunk - heart)
    density -= 0.1 * _blob(u, v + 0.75, 0.08, 0.5)  # windpipe
    density += anatomy.hilum * _blob(side - 0.2, v, 0.14, 0.24)
    return density, air


def _lungs(anatomy: Anatomy, side: Picture, v: Picture) -> Picture:
    """Share of air in both lungs, 0 to 1, as if the diaphragm did not end them."""
    up = np.maximum(-v, 0)
    middle = 0.46 * anatomy.width - anatomy.taper * _square(up)
    across = (side - middle) / (0.4 * anatomy.width - 0.08 * up)
    along = up / anatomy.apex + np.maximum(v, 0) / 1.6
    return _step(1 - _square(across) - _square(along), 0.3)


def _heart(anatomy: Anatomy, film: Acquisition, u: Picture, v: Picture) -> Picture:
    """The heart's shadow, 0 to 1, lying on the diaphragm."""
    cosine, sine = _turned(anatomy.heart_axis)
    across, down = u - 0.12, v - (anatomy.diaphragm + film.breath - 0.16)
    along, athwart = cosine * across + sine * down, cosine * down - sine * across
    length, breadth = 0.4 * anatomy.heart, 0.28 * anatomy.heart
    return _step(1 - _square(along / length) - _square(athwart / breadth), 0.25)


def _bones(anatomy: Anatomy, u: Picture, v: Picture, side: Picture) -> Picture:
    """Attenuation of ribs at the back, fainter and steeper ones in front, collarbones and spine."""
    away = side / anatomy.width
    fall = _square(away)
    back = (v - anatomy.rib_slope * side + 0.5 * fall * fall) / anatomy.rib_spacing
    front = (v + (anatomy.rib_slope + 0.25) * side - 0.3 * fall) / (1.15 * anatomy.rib_spacing)
    bones = 0.08 * _bands(back - anatomy.rib_start, 0.3) + 0.04 * _bands(front + anatomy.rib_start, 0.3)
    bones *= _step(anatomy.width - side - 0.4 * _square(np.minimum(v + 0.3, 0)), 0.06)
    bones *= _step(0.75 - v, 0.3)
    bones += 0.12 * _blob(side - 0.44 * anatomy.width, v + 0.64 + 0.3 * side - 0.25 * fall, 0.4, 0.07)  # collarbones
    bones += _step(0.1 - side, 0.04) * (0.05 + 0.04 * _bands(v / 0.15, 0.35))  # spine
    return bones


def _opacity(anatomy: Anatomy, film: Acquisition, u: Picture, v: Picture, severity: float) -> Picture:
    """Shape of the opacity: 1 at its middle, exactly 0 outside its half axes."""
    across = u - _side(film.opacity_side) * film.opacity_across * anatomy.width
    down = v - film.opacity_down
    cosine, sine = _turned(film.opacity_turn)
    radius = opacity_radius(severity)
    along, athwart = cosine * across + sine * down, cosine * down - sine * across
    return _blob(along, athwart, radius * film.opacity_stretch, radius / film.opacity_stretch)


def _mark(tone: Picture, film: Acquisition) -> None:
    """Puts the lead marker into an upper corner."""
    size = len(tone)
    letter = _letter("R" if film.marker_side < 0.5 else "L", max(1, size // 64))
    height, width = letter.shape
    row, column = int(size * film.marker_down), int(size * film.marker_right)
    if film.marker_side >= 0.5:
        column = size - column - width
    tone[row : row + height, column : column + width][letter] = 0.97


@functools.cache
def _letter(name: str, scale: int) -> Bool[np.ndarray, "height width"]:
    """Pixels that the lead covers."""
    small = np.asarray([[pixel == "1" for pixel in line] for line in LETTERS[name]])
    return small.repeat(scale, axis=0).repeat(scale, axis=1)


# What follows works on any shape and is called some forty times a film: unchecked shapes keep the tests fast.


def _blob(across: np.ndarray, down: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    """1 in the middle of an ellipse, falling smoothly to 0 at its edge and beyond."""
    inside = 1 - _square(across / half_width)
    inside -= _square(down / half_height)
    _clip(inside)
    return _smooth(inside)


def _bands(phase: np.ndarray, half_width: float) -> np.ndarray:
    """1 on each whole number, falling smoothly to 0 at ``half_width`` from it."""
    inside = 1 - _square((phase - np.rint(phase)) / half_width)
    _clip(inside)
    return inside * (2 - inside)


def _step(distance: np.ndarray, softness: float) -> np.ndarray:
    """0 below ``-softness``, 1 above ``softness``, smooth between."""
    share = distance * (0.5 / softness)
    share += 0.5
    _clip(share)
    return _smooth(share)


def _smooth(share: np.ndarray) -> np.ndarray:
    """From 0 to 1, level at both ends."""
    rest = 3 - 2 * share
    rest *= share
    rest *= share
    return rest


def _clip(values: np.ndarray) -> None:
    """To 0..1, in place."""
    values.clip(0, 1, out=values)


def _square(values: np.ndarray) -> np.ndarray:
    return values * values


def _side(number: float) -> float:
    return -1.0 if number < 0.5 else 1.0


def _turned(half_tangent: float) -> tuple[float, float]:
    """Cosine and sine of an angle, from the tangent of its half."""
    square = half_tangent * half_tangent
    return (1 - square) / (1 + square), 2 * half_tangent / (1 + square)
