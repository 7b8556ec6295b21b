"""Which pixels moved an answer: Grad-CAM and input gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32

from research.algorithms.algorithm import State
from research.models import functional
from research.models.model import Model
from research.models.placement import Placement
from research.task import Task


class Explanation(NamedTuple):
    """Maps of one batch of pictures.

    Attributes:
        cams: Grad-CAM at every pixel, 0 to 1 in each picture and 0 where no cell of the feature maps is centred
            nearby, ``[B, H, W]``; all 0 where nothing in a picture speaks for the answer. None for a model without
            feature maps.
        gradients: magnitude of the gradient of the answer by each pixel, summed over channels, ``[B, H, W]``.
        answer: number of the class, label or quantity that is explained, ``[B]``.
    """

    cams: Float32[Array, "B H W"] | None
    gradients: Float32[Array, "B H W"]
    answer: Int32[Array, " B"]


def explain(
    model: Model,
    state: State,
    inputs: Float[Array, "B H W C"],
    outputs: int,
    task: Task,
    answer: Int32[Array, " B"] | None = None,
    platform: str = "cpu",
    predict: Callable[[Float32[Array, "B K"]], Float32[Array, "B L"]] | None = None,
) -> Explanation:
    """Maps of an answer that the model gives to each picture.

    Grad-CAM (Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", ICCV
    2017) weighs the last feature maps by the mean gradient of the answer's logit and keeps what speaks for the answer;
    input gradients are those of Simonyan et al., "Deep inside convolutional networks", 2013. Where a model has two
    logits for two classes, their difference is explained.

    Args:
        model: the model's spec.
        state: deployed weights.
        inputs: pictures as the model takes them.
        outputs: number of outputs of the model.
        task: what is predicted.
        answer: which class, label or quantity to explain; None: of classes and labels the likeliest, of quantities the
            first. Of two classes it is always the positive one.
        platform: kind of device, as in `research.context.Context`.
        predict: outputs to what ``answer`` counts, such as quantities, where these are not the outputs themselves.
    """
    whole, features, head, placement = functional.parts(
        model, state.params, state.model_state, inputs, outputs, platform
    )
    if task.kind == "binary":
        answer = jnp.ones(len(inputs), jnp.int32)
    elif answer is None and task.kind in ("regression", "survival"):
        answer = jnp.zeros(len(inputs), jnp.int32)
    elif answer is None:
        answer = whole(inputs).argmax(1).astype(jnp.int32)
    asked = answer

    def score(logits: Float[Array, "B K"]) -> Float[Array, ""]:
        if predict is not None:
            logits = predict(logits)
        if task.kind != "binary":
            return jnp.take_along_axis(logits, asked[:, None], axis=1).sum()
        return (logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]).sum()

    gradients = jnp.abs(jax.grad(lambda x: score(whole(x)))(inputs)).sum(3)
    if features is None or head is None:
        return Explanation(None, gradients, asked)
    maps = features(inputs)
    by_map = jax.grad(lambda maps: score(head(maps)))(maps)
    cams = jax.nn.relu((maps * by_map.mean((1, 2), keepdims=True)).sum(3))
    highest = cams.max((1, 2), keepdims=True)
    return Explanation(_spread(cams / jnp.where(highest > 0, highest, 1), inputs.shape, placement), gradients, asked)


def _spread(
    cams: Float32[Array, "B h w"], picture: tuple[int, ...], placement: Placement | None
) -> Float32[Array, "B H W"]:
    """The values of the cells at every pixel: linear between the centres of cells, 0 half a cell beyond the last."""
    by_row, by_column = (
        _weights(cells, pixels, placement or Placement(pixels / cells, (pixels / cells - 1) / 2))
        for cells, pixels in zip(cams.shape[1:], picture[1:3], strict=True)
    )
    return jnp.einsum("Hh,bhw,Ww->bHW", by_row, cams, by_column, precision="highest")


def _weights(cells: int, pixels: int, placement: Placement) -> Float32[np.ndarray, "P C"]:
    """How much of each cell each pixel along one axis shows."""
    place = (np.arange(pixels) - placement.offset) / placement.stride
    inside = (place >= -0.5) & (place <= cells - 0.5)
    near = np.clip(place, 0, cells - 1)[:, None] - np.arange(cells)
    return (np.clip(1 - np.abs(near), 0, 1) * inside[:, None]).astype(np.float32)
