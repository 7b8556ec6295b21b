"""`Placement`: where in the picture the cells of a feature map look."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Placement:
    """Cell i of a map, along either axis, is centred on the pixel ``offset + i * stride`` of the picture.

    Convolutions and poolings without padding shift it: after two 3x3 convolutions the first cell looks at pixel 2, not
    at pixel 0. See Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.

    Attributes:
        stride: pixels between neighbouring cells.
        offset: pixel on which the first cell is centred, from 0; between two pixels where it is no whole number.
    """

    stride: float = 1.0
    offset: float = 0.0

    def through(self, window: int, stride: int, before: int = 0) -> Placement:
        """After a convolution or pooling.

        Args:
            window: pixels of its kernel or window.
            stride: pixels between its positions.
            before: pixels of padding at the near end.
        """
        return Placement(self.stride * stride, self.offset + self.stride * ((window - 1) / 2 - before))
