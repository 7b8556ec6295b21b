"""`Augmentation`: which random changes training images undergo, and how strong they are."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, UInt32

from research.data.augmentation import geometry, intensity, mixing
from research.data.augmentation.draws import Draw, coin, normal, within
from research.data.augmentation.mixing import Mixed
from research.keys import uniform
from research.spec import Spec, field


class Augmentation(Spec):
    """Random changes of the images of a training step, a new draw for each image and step.

    They take place on the device, inside the compiled step, and apply to pixels in [0, 1]. Each draw is a function of
    (seed, step, example, purpose): the other rows, their order and padding change nothing, and switching one change on
    leaves the draws of the others as they were. Strengths are traced; None leaves a change out of the program.

    In this order: rotation, translation, shear, zoom, crop and flips, all in one bilinear look-up; brightness;
    contrast; noise; cutout; and then `mix`, which needs the rest of the batch.

    The geometry is that of Keras's ``ImageDataGenerator``, with one surprise that is kept: ``shear`` is in **degrees**,
    so the often seen ``shear_range=0.2`` moves nothing by as much as a tenth of a pixel in a 28-pixel image. Keras's
    ``rescale=1/255, shear_range=0.2, zoom_range=0.2, horizontal_flip=True`` is
    ``Augmentation(shear=0.2, zoom=0.2, horizontal_flip=True)``: pixels are scaled before they come here.
    """

    rotation: float | None = field(None, minimum=0, maximum=180, help="turn by up to so many degrees either way")
    translation: float | None = field(
        None, minimum=0, maximum=1, help="shift by up to this share of each side, either way"
    )
    shear: float | None = field(None, minimum=0, below=90, help="slant by up to so many degrees, not radians")
    zoom: float | None = field(
        None, minimum=0, below=1, help="factors between 1 - zoom and 1 + zoom, one for rows and one for columns"
    )
    horizontal_flip: bool = field(False, help="half of the images left to right")
    vertical_flip: bool = field(False, help="half of the images upside down")
    crop: float | None = field(
        None, minimum=0, below=1, help="cut up to this share off both sides, anywhere, and enlarge the rest"
    )
    fill: geometry.Fill = field("nearest", help="beyond the borders: the nearest pixel, or 0 ('constant')")
    brightness: float | None = field(
        None, minimum=0, maximum=1, help="pixels times 1 - brightness to 1 + brightness, kept in [0, 1]"
    )
    contrast: float | None = field(
        None, minimum=0, maximum=1, help="differences from the mean times 1 - contrast to 1 + contrast, kept in [0, 1]"
    )
    noise: float | None = field(
        None, minimum=0, help="standard deviation of Gaussian noise on every pixel and channel, the same in all images"
    )
    cutout: float | None = field(
        None, minimum=0, maximum=1, help="side of a blackened square, as a share of the image's shorter side"
    )
    mixup: float | None = field(None, above=0, help="alpha of the Beta distribution of the weights of two images")
    cutmix: float | None = field(None, above=0, help="alpha of the Beta distribution of the area that an image keeps")

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with others of the batch, so that a loss has two labels to weigh."""
        return self.mixup is not None or self.cutmix is not None

    def apply(self, images: Float[Array, "B H W C"], keys: UInt32[Array, "B 2"]) -> Float[Array, "B H W C"]:
        """The changed images, of the same precision; everything but `mix`.

        Cutout is that of DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout",
        2017: the middle of the square may be any pixel, and what lies beyond the borders is cut away; 0 is black here,
        where they had standardised pixels before.

        Args:
            images: pixels in [0, 1].
            keys: from `research.keys.example_keys`.
        """
        height, width = images.shape[1:3]
        changed = self._move(images.astype(jnp.float32), keys)
        if self.brightness is not None:
            changed = intensity.brighten(changed, 1 + within(keys, Draw.BRIGHTNESS, self.brightness))
        if self.contrast is not None:
            changed = intensity.stretch_contrast(changed, 1 + within(keys, Draw.CONTRAST, self.contrast))
        if self.noise is not None:
            changed = intensity.add_noise(changed, normal(keys, Draw.NOISE, images.shape[1:]), self.noise)
        if self.cutout is not None:
            middle = uniform(keys, Draw.CUTOUT, (2,))
            side = jnp.full(middle.shape, min(height, width) * self.cutout, jnp.float32)
            changed = intensity.erase(changed, geometry.rectangles(height, width, side, middle))
        return changed.astype(images.dtype)

    def mix(self, images: Float[Array, "B H W C"], mask: Bool[Array, " B"], keys: UInt32[Array, "B 2"]) -> Mixed:
        """Each image mixed with that of another row that counts; see `Mixed` for what becomes of the loss.

        Partners are drawn as `research.data.augmentation.mixing.partners` says. Where mixup and cutmix are both on,
        each image undergoes one of them, with equal probability. Only where `mixes`.

        Args:
            images: the batch, usually after `apply`.
            mask: False on padding rows, which are left alone and mixed into no other.
            keys: from `research.keys.example_keys`.
        """
        assert self.mixes
        count, height, width, _ = images.shape
        partner = mixing.partners(mask, keys)
        share, own = self._shares(keys, height, width)
        alone = partner == jnp.arange(count, dtype=jnp.int32)
        share = jnp.where(alone, 1, share)
        own = jnp.where(alone[:, None, None], 1, own)[..., None]
        wide = images.astype(jnp.float32)
        mixed = own * wide + (1 - own) * wide[partner]
        return Mixed(mixed.astype(images.dtype), partner, share)

    def _shares(
        self, keys: UInt32[Array, "B 2"], height: int, width: int
    ) -> tuple[Float32[Array, " B"], Float32[Array, "B H W"]]:
        """Weight of each image's own label, and of each of its own pixels."""
        if self.cutmix is None:
            assert self.mixup is not None
            return mixing.mixup(keys, self.mixup, height, width)
        pasted = mixing.cutmix(keys, self.cutmix, height, width)
        if self.mixup is None:
            return pasted
        blended = mixing.mixup(keys, self.mixup, height, width)
        blend = coin(keys, Draw.MIXUP_OR_CUTMIX)
        return jnp.where(blend, blended[0], pasted[0]), jnp.where(blend[:, None, None], blended[1], pasted[1])

    def _move(self, images: Float32[Array, "B H W C"], keys: UInt32[Array, "B 2"]) -> Float32[Array, "B H W C"]:
        """Everything that changes where pixels are, in one look-up; flips alone need none."""
        sides = jnp.array([images.shape[1:3]], jnp.float32)
        flip = self._flip(keys)
        parts = {}
        if self.rotation is not None:
            parts["rotation"] = within(keys, Draw.ROTATION, self.rotation)
        if self.translation is not None:
            parts["translation"] = within(keys, Draw.TRANSLATION, self.translation, (2,)) * sides
        if self.shear is not None:
            parts["shear"] = within(keys, Draw.SHEAR, self.shear)
        if self.zoom is not None:
            parts["zoom"] = 1 + within(keys, Draw.ZOOM, self.zoom, (2,))
        if self.crop is not None:
            cut = self.crop * uniform(keys, Draw.CROP_SIZE, ())
            parts["crop"] = (1 - cut, within(keys, Draw.CROP_PLACE, 0.5, (2,)) * cut[:, None] * sides)
        if parts:
            return geometry.warp(images, geometry.affine(**parts, flip=flip), self.fill)
        return images if flip is None else geometry.mirror(images, flip)

    def _flip(self, keys: UInt32[Array, "B 2"]) -> Bool[Array, "B 2"] | None:
        if not (self.horizontal_flip or self.vertical_flip):
            return None
        vertical = coin(keys, Draw.VERTICAL_FLIP) & self.vertical_flip
        horizontal = coin(keys, Draw.HORIZONTAL_FLIP) & self.horizontal_flip
        return jnp.stack([vertical, horizontal], axis=1)
