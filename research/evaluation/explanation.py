"""Which pixels moved an answer: Grad-CAM and input gradients."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from research.algorithms.algorithm import State
from research.models import functional
from research.models.model import Model
from research.task import Task


class Explanation(NamedTuple):
    """Maps of one batch of pictures.

    Attributes:
        cams: Grad-CAM, 0 to 1 in each picture, at the resolution of the last feature maps, ``[B, h, w]``.
        gradients: magnitude of the gradient of the answer by each pixel, summed over channels, ``[B, H, W]``.
        answer: number of the class or label that is explained; 0 for a predicted quantity.
    """

    cams: Float32[Array, "B h w"]
    gradients: Float32[Array, "B H W"]
    answer: Float32[Array, " B"]


def explain(model: Model, state: State, inputs: Float[Array, "B H W C"], outputs: int, task: Task) -> Explanation:
    """Maps of the answer that the model gives to each picture.

    Explained are: of two classes the positive one, of several classes or labels the likeliest, of quantities the
    first. Grad-CAM (Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
    localization", ICCV 2017) weighs the last feature maps by the mean gradient of the answer's logit and keeps what
    speaks for the answer; input gradients are those of Simonyan et al., "Deep inside convolutional networks", 2013.

    Args:
        model: the model's spec.
        state: deployed weights.
        inputs: pictures as the model takes them.
        outputs: number of outputs of the model.
        task: what is predicted.

    Raises:
        UserError: where the model has no feature maps.
    """
    features, head = functional.parts(model, state.params, state.model_state, inputs, outputs)

    def score(logits: Float[Array, "B K"]) -> tuple[Float[Array, ""], Array]:
        if task.kind == "binary":
            margin = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
            return margin.sum(), jnp.ones(len(logits))
        if task.kind == "regression":
            return logits[:, 0].sum(), jnp.zeros(len(logits))
        return logits.max(1).sum(), logits.argmax(1).astype(jnp.float32)

    maps = features(inputs)
    by_map, answer = jax.grad(lambda maps: score(head(maps)), has_aux=True)(maps)
    weights = by_map.mean((1, 2), keepdims=True)
    cams = jax.nn.relu((maps * weights).sum(3))
    highest = cams.max((1, 2), keepdims=True)
    gradients = jax.grad(lambda x: score(head(features(x)))[0])(inputs)
    return Explanation(cams / jnp.where(highest > 0, highest, 1), jnp.abs(gradients).sum(3), answer)
