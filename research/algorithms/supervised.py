"""Supervised learning: a model, a loss, an optimizer."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Key

from research import keys, metrics
from research.algorithms.algorithm import Algorithm, State
from research.context import Context
from research.errors import UserError
from research.loss_scale import LossScale, all_finite, chosen
from research.losses import Loss
from research.models import functional
from research.models.model import Forward, Model
from research.spec import field
from research.task import NO_LABEL

if TYPE_CHECKING:
    from research.experiment import Experiment


class Supervised(Algorithm):
    """Minimise the mean loss over the training examples, with optional penalties on the weights.

    Penalties act on parameters with two or more axes (kernels), not on biases and norm scales:
    ``l1 * sum(|w|) + l2 / 2 * sum(w ** 2)`` is added to the mean loss of each batch. Where the optimizer's ``average``
    is set, an exponential moving average of the weights is evaluated and deployed in their place; its decay is
    ``min(average, (1 + t) / (10 + t))`` after t updates, so that the initial weights are soon forgotten. With batch
    normalisation the averaged weights go with the running statistics of the trained ones; the two belong together once
    the learning rate has fallen to nothing, but before that the loss is higher than with statistics of their own: 0.57
    to 0.71 against 0.56 to 0.65 in a trial (a small ResNet on drawn films, constant rate), with the same AUROC.
    Averaging the statistics too was better late and worse early.
    """

    rows: ClassVar = "example"

    l1: float | None = field(None, minimum=0, help="strength of the L1 penalty on kernels")
    l2: float | None = field(None, minimum=0, help="strength of the L2 penalty on kernels")

    def check(self, spec: Experiment) -> None:
        """An experiment without data, model or loss cannot be trained by this algorithm."""
        for name in ("data", "model", "loss"):
            if getattr(spec, name) is None:
                raise UserError(
                    f"{name}: Supervised needs it, and the experiment has none. Set {name}=... in the file."
                )

    def init(self, spec: Experiment, key: Key[Array, ""], example: Any) -> State:
        """Fresh parameters, and the optimizer's state for them."""
        model, loss = _parts(spec)
        params, model_state = functional.initialise(
            model, _one(example), loss.outputs(example.task), key, spec.precision.params_dtype
        )
        extra: dict[str, Any] = {}
        if spec.optimizer.average is not None:
            extra = {"average": functional.wide(params), "updates": jnp.int32(0)}
        if spec.precision.scales_loss:
            extra["loss_scale"] = LossScale.first()
        return State(params, model_state, spec.optimizer.build(1).init(params), extra)

    def axes(self, spec: Experiment, example: Any) -> functional.Axes:
        """As the layers of the model name them."""
        model, loss = _parts(spec)
        return functional.axes(model, _one(example), loss.outputs(example.task))

    def update(
        self, spec: Experiment, state: State, batch: Any, key: Key[Array, ""], context: Context
    ) -> tuple[State, dict[str, Array]]:
        """One optimizer step on one batch; scalars are ``loss`` and, where there are penalties, ``penalty``.

        Where gradients pass through float16 there are those of `LossScale.after` too, and the step may be skipped.
        """
        frozen, scale = _frozen(spec), state.extra.get("loss_scale")

        def objective(params: Any) -> tuple[Array, tuple[Any, dict[str, Array], Array]]:
            forward = Forward(train=True, keys=keys.example_keys(key, batch.example), mask=batch.mask, context=context)
            outputs, model_state = _forward(spec, params, state.model_state, batch, forward, key)
            total, weight = _cost(spec, outputs, batch, context)
            mask = jnp.broadcast_to(batch.mask.reshape(-1, *[1] * (total.ndim - 1)), total.shape).astype(jnp.float32)
            loss = context.ratio(total * mask, weight * mask)
            scalars = {"loss": loss}
            if self.l1 is not None or self.l2 is not None:
                scalars["penalty"] = self._penalty(params)
                loss = loss + scalars["penalty"]
            count = context.mean((weight * mask).sum()) if spec.optimizer.accumulate > 1 else jnp.float32(1)
            return loss if scale is None else loss * scale.scale, (model_state, scalars, count)

        gradients, (model_state, scalars, count) = jax.grad(objective, has_aux=True)(state.params)
        gradients = context.mean(gradients)
        gradients = gradients if scale is None else scale.unscaled(gradients)
        gradients = functional.select(gradients, frozen, jax.tree.map(jnp.zeros_like, gradients))
        optimizer = spec.optimizer.build(context.total_updates)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params, weight=count)
        params: Any = optax.apply_updates(state.params, updates)
        params = functional.select(params, frozen, state.params)
        model_state = functional.select(model_state, frozen, state.model_state)
        extra = self._average(spec, state, params, optimizer_state)
        new = State(params, model_state, optimizer_state, extra)
        return (
            (new, scalars)
            if scale is None
            else _scaled(state, new, all_finite((gradients, scalars["loss"])), scale, scalars)
        )

    def _penalty(self, params: Any) -> Array:
        kernels = [leaf.astype(jnp.float32) for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
        penalty = jnp.float32(0)
        if self.l1 is not None:
            penalty += self.l1 * sum(jnp.abs(kernel).sum() for kernel in kernels)
        if self.l2 is not None:
            penalty += self.l2 / 2 * sum(jnp.square(kernel).sum() for kernel in kernels)
        return penalty

    def _average(self, spec: Experiment, state: State, params: Any, optimizer_state: Any) -> dict[str, Any]:
        decay = spec.optimizer.average
        if decay is None:
            return {}
        # With gradient accumulation the weights change only every few updates; so does their average.
        changed = optimizer_state.mini_step == 0 if spec.optimizer.accumulate > 1 else jnp.bool_(True)
        updates = state.extra["updates"] + changed.astype(jnp.int32)
        count = updates.astype(jnp.float32)
        keep = jnp.where(changed, jnp.minimum(decay, (1 + count) / (10 + count)), 1.0)
        wide = jax.tree.map(lambda new: new.astype(jnp.float32), params)
        average = jax.tree.map(lambda old, new: keep * old + (1 - keep) * new, state.extra["average"], wide)
        # Averaging a number with itself may still round.
        average = functional.select(average, _frozen(spec), state.extra["average"])
        return {"average": average, "updates": updates}

    def deployed(self, spec: Experiment, state: State) -> State:
        """The averaged weights where there are any, else the trained ones."""
        return State(state.extra.get("average", state.params), state.model_state, (), {})

    def evaluate(
        self, spec: Experiment, state: State, batch: Any, key: Key[Array, ""], context: Context
    ) -> dict[str, Array]:
        """Per example, or step: ``prediction`` (probabilities, values or risks), and ``loss`` with its ``weight``.

        Where the loss has quantiles, ``quantiles`` too.
        """
        outputs, _ = _forward(
            spec, state.params, state.model_state, batch, Forward(mask=batch.mask, context=context), key
        )
        loss = _parts(spec)[1]
        total, weight = loss.batch_cost(outputs, batch, context)
        rows = {"prediction": loss.predict_rows(outputs, batch.task), "loss": total, "weight": weight}
        return rows | ({"quantiles": loss.predict_quantiles(outputs, batch.task)} if loss.levels else {})

    def summarize(
        self, spec: Experiment, rows: dict[str, Array], batch: Any, mask: Bool[Array, " N"]
    ) -> dict[str, Array]:
        """Mean loss and the task's steering metrics; see `research.metrics.steering`."""
        prediction, targets, weights = rows["prediction"], batch.targets, mask.astype(jnp.float32)
        if batch.task.per_step:
            known = targets != NO_LABEL
            weights = jnp.broadcast_to(weights[:, None], known.shape)
            loss = (rows["loss"] * weights).sum() / (rows["weight"] * weights).sum()
            prediction = prediction.reshape(-1, *prediction.shape[2:])
            targets, weights = jnp.where(known, targets, 0).reshape(-1), jnp.where(known, weights, 0).reshape(-1)
        else:
            loss = (rows["loss"] * weights).sum() / (rows["weight"] * weights).sum()
        return {"loss": loss} | metrics.steering(batch.task, prediction, targets, weights)


def _one(batch: Any) -> Any:
    """Shapes of the inputs of one example of a batch."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batch.inputs)


def _parts(spec: Experiment) -> tuple[Model, Loss]:
    """Model and loss, which `Supervised.check` has made sure of."""
    assert spec.model is not None and spec.loss is not None
    return spec.model, spec.loss


def _cost(spec: Experiment, outputs: Array, batch: Any, context: Context) -> tuple[Array, Array]:
    """Cost and weight of each row; where rows are mixtures, those of both parts by their shares."""
    loss = _parts(spec)[1]
    total, weight = loss.batch_cost(outputs, batch, context)
    if batch.share is None:
        return total, weight
    other_total, other_weight = loss.per_example(outputs, batch.other_targets)
    share = batch.share
    return share * total + (1 - share) * other_total, share * weight + (1 - share) * other_weight


def _scaled(
    state: State, new: State, finite: Bool[Array, ""], scale: LossScale, scalars: dict[str, Array]
) -> tuple[State, dict[str, Array]]:
    """The new state, or the one before where loss or gradient was not finite, with the next scale; and the scalars."""
    kept = {name: state.extra[name] for name in new.extra}
    made = chosen(finite, new, State(state.params, state.model_state, state.optimizer, kept))
    after, told = scale.after(finite, scalars["loss"])
    if "penalty" in scalars:
        told["penalty"] = scalars["penalty"]
    return dataclasses.replace(made, extra=made.extra | {"loss_scale": after}), told


def _frozen(spec: Experiment) -> tuple[str, ...]:
    """Paths of the parts that are not trained."""
    return spec.start_from.frozen if spec.start_from is not None else ()


def _forward(
    spec: Experiment, params: Any, model_state: Any, batch: Any, forward: Forward, key: Key[Array, ""]
) -> tuple[Array, Any]:
    model, loss = _parts(spec)
    number = loss.outputs(batch.task)
    outputs, state = functional.apply(
        model,
        params,
        model_state,
        batch.inputs,
        number,
        forward,
        key,
        spec.precision.compute_dtype,
        spec.precision.output_dtype,
    )
    wanted = (*batch.targets.shape[:2], number) if batch.task.per_step else (len(batch.mask), number)
    if outputs.shape != wanted:
        each = "step: use readout='each'" if batch.task.per_step else "example: use another readout than 'each'"
        raise UserError(
            f"model: {type(model).__name__} gives outputs of shape {outputs.shape}, but the task needs {wanted}, one "
            f"for each {each}."
        )
    return outputs, state
