"""`Pixels`: stored bytes become the numbers that a network sees, inside the compiled step."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Shaped

from research.errors import UserError
from research.spec import Spec, field


class Pixels(Spec):
    """How pixels are scaled, in training and in evaluation alike.

    First every pixel is multiplied by ``rescale``: 1/255 brings bytes to 0..1, which is also what augmentation works
    on. Then, where asked for, pictures are standardised: by the mean and standard deviation of each channel over the
    training pictures (``train``), by those of the picture itself (``picture``), or by numbers given as ``mean`` and
    ``deviation``, such as 0.5 and 0.5, or those of the pictures that a network was trained on before.
    """

    rescale: float = field(1 / 255, above=0, help="factor of every pixel; 1/255 brings bytes to 0..1")
    standardize: Literal["train", "picture"] | None = field(
        None, help="mean 0 and deviation 1, by the channels of all training pictures or by each picture"
    )
    mean: tuple[float, ...] | None = field(None, help="subtracted after rescaling; one number, or one per channel")
    deviation: tuple[float, ...] | None = field(None, above=0, help="divided by after that; like mean")

    def validate(self) -> None:
        """The mean and deviation come together, and from one place."""
        if (self.mean is None) != (self.deviation is None):
            lacking = "deviation" if self.deviation is None else "mean"
            raise UserError(f"pixels.{lacking}: needed, for its partner is given. Set both, or neither.")
        if self.mean is not None and self.standardize is not None:
            raise UserError("pixels.standardize: mean and deviation are given; remove them, or set standardize=none.")

    def check_channels(self, channels: int) -> None:
        """Raises `UserError` where mean and deviation are for another number of channels."""
        for name, numbers in (("mean", self.mean), ("deviation", self.deviation)):
            if numbers is not None and len(numbers) not in (1, channels):
                raise UserError(
                    f"pixels.{name}: {len(numbers)} numbers were given; the pictures have {channels} channels, so give "
                    f"{'one number' if channels == 1 else f'one number, or {channels}'}."
                )

    def fitted(self, mean: Float[np.ndarray, " C"], deviation: Float[np.ndarray, " C"]) -> Pixels:
        """With ``standardize="train"``: the same with the statistics of the training pictures filled in.

        Args:
            mean: of the stored pixels, by channel, before rescaling.
            deviation: their standard deviation.
        """
        if self.standardize != "train":
            return self
        safe = np.where(deviation > 0, deviation, 1.0)
        return self.replace(standardize=None, mean=tuple(mean * self.rescale), deviation=tuple(safe * self.rescale))

    def scale(self, pictures: Shaped[Array, "B H W C"]) -> Float32[Array, "B H W C"]:
        """Pictures times ``rescale``."""
        return pictures.astype(jnp.float32) * self.rescale

    def normalize(self, pictures: Float32[Array, "B H W C"]) -> Float32[Array, "B H W C"]:
        """Scaled pictures, standardised as asked for."""
        if self.standardize == "picture":
            mean = pictures.mean((1, 2, 3), keepdims=True)
            variance = jnp.square(pictures - mean).mean((1, 2, 3), keepdims=True)
            return (pictures - mean) * jax.lax.rsqrt(variance + 1e-8)
        if self.mean is None or self.deviation is None:
            return pictures
        mean, deviation = _channels(self.mean, pictures), _channels(self.deviation, pictures)
        return (pictures - mean) / deviation


def _channels(numbers: tuple[float | Array, ...], pictures: Float32[Array, "B H W C"]) -> Float32[Array, "1 1 1 C"]:
    vector = jnp.stack([jnp.asarray(number, jnp.float32) for number in numbers])
    return jnp.broadcast_to(vector, pictures.shape[-1:]).reshape(1, 1, 1, -1)
