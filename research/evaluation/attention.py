"""What a model attended to: the weights of its attention layers for chosen examples."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from research.algorithms.algorithm import State
from research.context import Context
from research.data.batch import Batch
from research.experiment import Experiment
from research.keys import GENERATOR
from research.models import functional
from research.models.model import Forward


@dataclasses.dataclass(frozen=True)
class Attention:
    """Weights for n examples, and what the model says of them.

    Attributes:
        inputs: what the model saw, a dict of arrays ``[n, T, ...]`` and ``[n, ...]``.
        layers: weights of each layer by name, ``[n, heads, queries, keys]``; none where the model has no attention. A
            layer with more keys than the inputs have steps has the class token first; one with a single query is the
            readout.
        prediction: as `research.losses.Loss.predict_rows` makes it.
    """

    inputs: dict[str, np.ndarray]
    layers: dict[str, np.ndarray]
    prediction: np.ndarray

    def read(self, name: str, example: int) -> Float[np.ndarray, " T"]:
        """Weights by which a layer reads the steps of an example, the mean over its heads.

        Of the class token's or the readout's query where there is one, else the mean over the queries of all steps that
        count.
        """
        weights, length = self.layers[name][example].mean(0), int(self.inputs["length"][example])
        if weights.shape[1] > self.inputs["time"].shape[1]:
            return weights[0, 1:]
        return weights[0] if len(weights) == 1 else weights[:length].mean(0)


def attend(experiment: Experiment, state: State, batch: Batch, platform: str) -> Attention:
    """What a model saw and says, and the weights of its attention, all from one forward pass as for any prediction.

    Args:
        experiment: with what was fitted to train filled in.
        state: deployed weights.
        batch: stored rows.
        platform: kind of device, as in `research.context.Context`.
    """
    model, loss, data = experiment.model, experiment.loss, experiment.data
    assert model is not None and loss is not None and data is not None

    def run(state: State, batch: Batch) -> tuple[Any, dict[str, Array], Array]:
        seen = data.transform(batch)
        forward = Forward(mask=seen.mask, context=Context(platform=platform), attention={})
        outputs, _ = functional.apply(
            model,
            state.params,
            state.model_state,
            seen.inputs,
            loss.outputs(seen.task),
            forward,
            jax.random.key(0, impl=GENERATOR),
        )
        return seen.inputs, forward.attention or {}, loss.predict_rows(outputs, seen.task)

    return Attention(*jax.device_get(jax.jit(run)(state, batch)))
