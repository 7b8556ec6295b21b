"""What pixels show: brightness, contrast, noise, and a square that is erased."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32

from research.data.augmentation.draws import Strength


def brighten(images: Float32[Array, "B H W C"], factor: Float32[Array, " B"]) -> Float32[Array, "B H W C"]:
    """Each image times its factor, cut off at 0 and 1."""
    return jnp.clip(images * factor[:, None, None, None], 0, 1)


def stretch_contrast(images: Float32[Array, "B H W C"], factor: Float32[Array, " B"]) -> Float32[Array, "B H W C"]:
    """Each image's differences from its mean over all pixels and channels, times its factor; cut off at 0 and 1."""
    mean = images.mean((1, 2, 3), keepdims=True)
    factor = factor[:, None, None, None]
    # Written so that a factor of 1 changes no bit.
    return jnp.clip(images * factor + (1 - factor) * mean, 0, 1)


def add_noise(
    images: Float32[Array, "B H W C"], noise: Float32[Array, "B H W C"], deviation: Strength
) -> Float32[Array, "B H W C"]:
    """Standard normal noise times ``deviation`` added; not cut off, for that would brighten black surroundings."""
    return images + deviation * noise


def erase(images: Float32[Array, "B H W C"], region: Bool[Array, "B H W"]) -> Float32[Array, "B H W C"]:
    """Black, that is 0, in each image's region."""
    return jnp.where(region[..., None], 0, images)
