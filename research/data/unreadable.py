"""`Unreadable`: a picture that cannot be read, and one error for all of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from research.data.images import Images
from research.errors import UserError

SHOWN = 5
"""How many pictures a message names."""

REMEDY = "Replace or remove them, or leave such files out with data.source.unreadable=skip."


class Unreadable(UserError):
    """A picture that cannot be read.

    Attributes:
        path: the file, or what else tells which picture it is.
        reason: what is wrong, to follow the name of the picture.
        remedy: a sentence: what to do about such pictures.
    """

    def __init__(self, path: Path | str, reason: str, remedy: str = REMEDY) -> None:
        super().__init__(f"{path} {reason}.")
        self.path, self.reason, self.remedy = path, reason, remedy

    def __reduce__(self) -> tuple[type[Unreadable], tuple[Path | str, str, str]]:
        return type(self), (self.path, self.reason, self.remedy)

    @property
    def name(self) -> str:
        """What to call the picture where nothing better is known."""
        return Path(self.path).name


def attempt(read: Callable[[int], UInt8[ndarray, "H W C"]], position: int) -> UInt8[ndarray, "H W C"] | Unreadable:
    """The picture at a position, or why it cannot be read, so that all such pictures can be told together."""
    try:
        return read(position)
    except Unreadable as error:
        return error


def check_readable(images: Images, unreadable: Mapping[int, Unreadable]) -> None:
    """Raise one `UserError` for all pictures of a dataset that cannot be read, by position, if there are any."""
    if not unreadable:
        return
    names = images.names
    shown = [
        f"{error.name if names is None else names[position]} {error.reason}"
        for position, error in sorted(unreadable.items())
    ]
    remedy = next(iter(unreadable.values())).remedy
    raise UserError(f"{cannot_be_read(shown, len(images), f'of {images.about.name} ')}. {remedy}")


def cannot_be_read(bad: Sequence[str], total: int, place: str = "", verdict: str = "cannot be read") -> str:
    """How many of ``total`` pictures are ``bad``, and what is wrong with the first few of them."""
    shown = "; ".join(bad[:SHOWN]) + ("; ..." if len(bad) > SHOWN else "")
    return f"{len(bad)} of {total} pictures {place}{verdict}: {shown}"
