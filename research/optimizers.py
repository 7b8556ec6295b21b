"""Optimizers as values: a few lines over optax each, with the numbers as traced leaves of the spec.

Every optimizer is the same chain: clip the gradient, turn it into a direction by the optimizer's own rule, multiply
by the learning rate, and, where asked for, do so once for several accumulated gradients. Where weight decay enters is
part of the rule: *coupled* rules add it to the gradient (an L2 penalty of half its size, as torch's SGD and Adam do),
*decoupled* ones to the direction (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019).

Of parameters that are kept in less than float32 the moments are of the same type, but for Adam's mean square: an update
moves that by ``1 - b2``, a thousandth, which is less than bfloat16 can tell apart, so it would come to a halt far too
low. Norms, and gradients that accumulate, are added up in float32 too.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float32, Int32

from research.schedules import Schedule, Steps
from research.spec import Spec, field

Stages = tuple[optax.GradientTransformation, ...]


class Optimizer(Spec):
    """Base of all optimizers.

    Weight decay skips parameters with fewer than two axes: biases, and the scales and shifts of normalisation.
    """

    abstract: ClassVar[bool] = True
    full_batch: ClassVar[bool] = False
    """Whether every update takes the whole training split as its one batch."""

    learning_rate: float | Schedule = field(1e-3, minimum=0, help="a number, or a schedule such as WarmupCosine()")
    clip_norm: float | None = field(None, above=0, help="largest allowed norm of the whole gradient; none for off")
    weight_decay: float | None = field(None, minimum=0, help="pull of kernels towards 0; none for off")
    accumulate: int = field(
        1, minimum=1, help="batches whose mean gradient makes one update; each counts by its rows, padding not"
    )
    average: float | None = field(
        None,
        minimum=0,
        below=1,
        help="decay of the moving average of the weights that is evaluated, at most (1 + t) / (10 + t); none for off",
    )

    def rule(self, decay: Stages) -> Stages:
        """The stages that turn a gradient into a direction; ``decay`` holds the one of weight decay, if it is on."""
        raise NotImplementedError

    def build(self, total_steps: Steps) -> optax.GradientTransformationExtraArgs:
        """The optax transformation; its updates are to be added to the parameters.

        Its ``update`` takes ``weight`` beside gradients, state and parameters: what the batch counts for where several
        are accumulated, the sum of the weights of its rows. Their gradient is then that of all their rows as one batch,
        if rows do not depend on each other. Left out, all batches count alike.

        Args:
            total_steps: how often ``update`` is called in the whole training, that is the number of batches; may be
                traced. A schedule counts updates of the parameters instead: ``total_steps // accumulate`` of them.
        """
        stages: list[optax.GradientTransformation] = []
        if self.clip_norm is not None:
            stages.append(_clip(self.clip_norm))
        stages.extend(self.rule(() if self.weight_decay is None else (_decay_weights(self.weight_decay),)))
        stages.append(optax.scale_by_learning_rate(self._rate(total_steps)))
        chain = optax.chain(*stages)
        return optax.with_extra_args_support(chain if self.accumulate == 1 else _accumulate(chain, self.accumulate))

    def _rate(self, total_steps: Steps) -> Any:
        schedule: Any = self.learning_rate
        if not isinstance(schedule, Schedule):
            return schedule
        updates = jnp.maximum(jnp.asarray(total_steps, jnp.int32) // self.accumulate, 1)
        return lambda step: schedule.value(step, updates)


class SGD(Optimizer):
    """Stochastic gradient descent (Robbins and Monro 1951). Weight decay is coupled."""

    learning_rate: float | Schedule = field(0.1, minimum=0, help="a number, or a schedule")

    def rule(self, decay: Stages) -> Stages:
        """See `Optimizer.rule`."""
        return decay


class GradientDescent(SGD):
    """Gradient descent (Cauchy 1847): every update takes the gradient over the whole training split."""

    full_batch: ClassVar[bool] = True


class Momentum(Optimizer):
    """Gradient descent with heavy-ball momentum (Polyak 1964): ``v = b v + g``. Weight decay is coupled."""

    learning_rate: float | Schedule = field(0.01, minimum=0, help="a number, or a schedule")
    momentum: float = field(0.9, minimum=0, below=1, help="share of the velocity kept from step to step")

    def rule(self, decay: Stages) -> Stages:
        """See `Optimizer.rule`."""
        return (*decay, optax.trace(decay=self.momentum))


class Nesterov(Momentum):
    """Nesterov's accelerated gradient, in the form of Sutskever et al., ICML 2013. Weight decay is coupled."""

    def rule(self, decay: Stages) -> Stages:
        """See `Optimizer.rule`."""
        return (*decay, optax.trace(decay=self.momentum, nesterov=True))


class RMSProp(Optimizer):
    """RMSProp (Tieleman and Hinton, Coursera lecture 6e, 2012). Weight decay is coupled.

    As optax and unlike torch, ``eps`` stands under the square root.
    """

    decay: float = field(0.9, minimum=0, below=1, help="memory of the mean square of the gradient")
    eps: float = field(1e-8, above=0, help="keeps the division finite")

    def rule(self, decay: Stages) -> Stages:
        """See `Optimizer.rule`."""
        return (*decay, optax.scale_by_rms(decay=self.decay, eps=self.eps))


class Adam(Optimizer):
    """Adam (Kingma and Ba, ICLR 2015). Weight decay is coupled, as in torch's Adam; see `AdamW`."""

    b1: float = field(0.9, minimum=0, below=1, help="memory of the mean of the gradient")
    b2: float = field(0.999, minimum=0, below=1, help="memory of its mean square")
    eps: float = field(1e-8, above=0, help="keeps the division finite")

    def rule(self, decay: Stages) -> Stages:
        """See `Optimizer.rule`."""
        return (*decay, _scale_by_adam(self))


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019)."""

    weight_decay: float | None = field(0.01, minimum=0, help="pull of kernels towards 0; none for off")

    def rule(self, decay: Stages) -> Stages:
        """See `Optimizer.rule`."""
        return (_scale_by_adam(self), *decay)


class LAMB(Adam):
    """Layer-wise adaptive moments for large batches (You et al., ICLR 2020). Weight decay is decoupled."""

    eps: float = field(1e-6, above=0, help="keeps the division finite")
    weight_decay: float | None = field(0.01, minimum=0, help="pull of kernels towards 0; none for off")

    def rule(self, decay: Stages) -> Stages:
        """See `Optimizer.rule`."""
        return (
            _scale_by_adam(self),
            *decay,
            optax.scale_by_trust_ratio(),
        )


class Lion(Optimizer):
    """Lion: the sign of a momentum (Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023).

    It wants a learning rate three to ten times below Adam's, and as much more weight decay, which is decoupled.
    """

    learning_rate: float | Schedule = field(1e-4, minimum=0, help="a number, or a schedule")
    weight_decay: float | None = field(0.1, minimum=0, help="pull of kernels towards 0; none for off")
    b1: float = field(0.9, minimum=0, below=1, help="share of the momentum in the direction")
    b2: float = field(0.99, minimum=0, below=1, help="memory of the momentum")

    def rule(self, decay: Stages) -> Stages:
        """See `Optimizer.rule`."""
        return (optax.scale_by_lion(b1=self.b1, b2=self.b2), *decay)


def _scale_by_adam(spec: Adam) -> optax.GradientTransformation:
    """``optax.scale_by_adam`` with its mean square in float32.

    It raises a float to an integer power: strict promotion has to look away.
    """
    adam = optax.scale_by_adam(b1=spec.b1, b2=spec.b2, eps=spec.eps)

    def init(params: Any) -> Any:
        state: Any = adam.init(_wide(params))
        return state._replace(mu=_as(params, state.mu))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        with jax.numpy_dtype_promotion("standard"):
            found, new = adam.update(_wide(updates), state._replace(mu=_wide(state.mu)))
        after: Any = new
        return _as(updates, found), after._replace(mu=_as(updates, after.mu))

    return optax.GradientTransformation(init, update)


def _clip(norm: Any) -> optax.GradientTransformation:
    """``optax.clip_by_global_norm`` with the norm in float32."""
    clip = optax.clip_by_global_norm(norm)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        clipped, state = clip.update(_wide(updates), state)
        return _as(updates, clipped), state

    return optax.GradientTransformation(clip.init, update)


def _wide(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)


def _as(like: Any, tree: Any) -> Any:
    """The leaves of ``tree`` in the types of those of ``like``."""
    return jax.tree.map(lambda own, leaf: leaf.astype(own.dtype), like, tree)


def _decay_weights(strength: Any) -> optax.GradientTransformation:
    """Add ``strength * parameter`` to the updates of parameters with two or more axes."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree.map(lambda u, p: u + strength * p if p.ndim > 1 else u, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


class AccumulationState(NamedTuple):
    """State of gradient accumulation.

    Attributes:
        mini_step: batches since the last update.
        total: sum of their gradients, each times the weight of its batch, float32.
        weight: sum of these weights.
        inner: state of what the mean gradient is fed to.
    """

    mini_step: Int32[Array, ""]
    total: Any
    weight: Float32[Array, ""]
    inner: Any


def _accumulate(inner: optax.GradientTransformation, batches: int) -> optax.GradientTransformationExtraArgs:
    """Feed ``inner`` the weighted mean gradient of every ``batches`` calls; updates are zero in between.

    ``optax.MultiSteps`` does the same, but all batches count alike, and it mixes truth values into its arithmetic,
    which strict promotion refuses.
    """

    def init(params: Any) -> AccumulationState:
        total = jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.float32), params)
        return AccumulationState(jnp.zeros([], jnp.int32), total, jnp.zeros([], jnp.float32), inner.init(params))

    def apply(total: Any, weight: Array, updates: Any, state: Any, params: Any) -> tuple[Any, Any, Array, Any]:
        mean = jax.tree.map(lambda t: t / weight.clip(1e-12), total)
        updates, state = inner.update(_as(updates, mean), state, params)
        return updates, jax.tree.map(jnp.zeros_like, total), jnp.zeros_like(weight), state

    def wait(total: Any, weight: Array, updates: Any, state: Any, params: Any) -> tuple[Any, Any, Array, Any]:
        return jax.tree.map(jnp.zeros_like, updates), total, weight, state

    def update(
        updates: Any, state: Any, params: Any = None, *, weight: Any = 1.0, **others: Any
    ) -> tuple[Any, AccumulationState]:
        weight = jnp.asarray(weight, jnp.float32)
        total = jax.tree.map(lambda t, u: t + weight * u.astype(jnp.float32), state.total, updates)
        mini_step = (state.mini_step + 1) % batches
        arguments = total, state.weight + weight, updates, state.inner, params
        updates, total, weight, inner_state = jax.lax.cond(mini_step == 0, apply, wait, *arguments)
        return updates, AccumulationState(mini_step, total, weight, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)
