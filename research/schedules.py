"""Learning-rate schedules whose every number, and whose length, may be traced.

optax's own schedules read their numbers on the host (``int(pct_start * steps)``, ``if peak <= 0``), so each value
would compile a new program. These are the same curves in plain array arithmetic: a stack of schedules runs under one
``vmap``, and one compiled update serves every peak, floor and total.
"""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from research.errors import UserError
from research.spec import Spec, Static, field

Steps = Int32[Array, ""] | int


class Schedule(Spec):
    """A learning rate that changes over training; a plain float in its place is the constant one.

    Steps are counted in optimizer updates, from 0. Lengths are fractions of training, so that the curve keeps its
    shape when the number of epochs changes; a fraction stands for the nearest whole number of steps. After the
    last step every schedule keeps its final value.
    """

    abstract: ClassVar[bool] = True

    def value(self, step: Steps, total_steps: Steps) -> Float32[Array, ""]:
        """The learning rate of one update.

        Args:
            step: number of the update, from 0; may be traced.
            total_steps: number of updates in the whole training; may be traced.
        """
        raise NotImplementedError


class WarmupCosine(Schedule):
    """Linear rise from 0 to the peak, then half a cosine down to the floor.

    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017, for the rise; Loshchilov and
    Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017, for the cosine. Equal to
    ``optax.warmup_cosine_decay_schedule`` that starts at 0: with a warm-up, update 0 changes nothing.
    """

    peak: float = field(1e-3, above=0, help="largest learning rate, reached at the end of the warm-up")
    warmup: Static[float] = field(0.05, minimum=0, below=1, help="share of training spent rising; 0 for none")
    floor: float = field(0.0, minimum=0, help="learning rate at the end of training")

    def validate(self) -> None:
        """Raises `UserError` where the floor lies above the peak."""
        if self.floor > self.peak:
            raise UserError(f"floor: a number of at most the peak, {self.peak:g}, is needed, {self.floor:g} was given.")

    def value(self, step: Steps, total_steps: Steps) -> Float32[Array, ""]:
        """See `Schedule.value`."""
        step, total = _floats(step, total_steps)
        warmup = _steps_of(self.warmup, total)
        rising = self.peak * step / jnp.maximum(warmup, 1)
        falling = _cosine(self.peak, self.floor, (step - warmup) / jnp.maximum(total - warmup, 1))
        return jnp.where(step < warmup, rising, falling)


class OneCycle(Schedule):
    """Half a cosine up to the peak, then half a cosine down to almost nothing.

    Smith and Topin, "Super-convergence: very fast training of neural networks using large learning rates", 2018,
    with the cosine of later practice. Equal to ``optax.cosine_onecycle_schedule``.
    """

    peak: float = field(1e-2, above=0, help="largest learning rate, reached at the end of the rise")
    warmup: Static[float] = field(0.3, above=0, below=1, help="share of training spent rising")
    start_division: float = field(25.0, minimum=1, help="the first learning rate is the peak divided by this")
    final_division: float = field(1e4, minimum=1, help="the last learning rate is the first one divided by this")

    def value(self, step: Steps, total_steps: Steps) -> Float32[Array, ""]:
        """See `Schedule.value`."""
        step, total = _floats(step, total_steps)
        warmup = _steps_of(self.warmup, total)
        first = self.peak / self.start_division
        rising = _cosine(first, self.peak, step / jnp.maximum(warmup, 1))
        falling = _cosine(self.peak, first / self.final_division, (step - warmup) / jnp.maximum(total - warmup, 1))
        return jnp.where(step < warmup, rising, falling)


class StepDecay(Schedule):
    """The learning rate is multiplied by a factor at regular intervals.

    Equal to ``optax.exponential_decay(..., staircase=True)`` and to torch's ``StepLR``.
    """

    initial: float = field(0.1, above=0, help="learning rate until the first drop")
    factor: float = field(0.1, above=0, maximum=1, help="what each drop multiplies the learning rate by")
    every: float = field(1 / 3, above=0, maximum=1, help="share of training between two drops")

    def value(self, step: Steps, total_steps: Steps) -> Float32[Array, ""]:
        """See `Schedule.value`."""
        step, total = _floats(step, total_steps)
        interval = jnp.maximum(_steps_of(self.every, total), 1)
        return self.initial * self.factor ** jnp.floor(jnp.minimum(step, total) / interval)


class Milestones(Schedule):
    """The learning rate is multiplied by a factor at given moments of training.

    The schedule of the residual networks (He et al., "Deep residual learning", CVPR 2016: at one half and three
    quarters). Equal to ``optax.piecewise_constant_schedule`` and to torch's ``MultiStepLR``.
    """

    initial: float = field(0.1, above=0, help="learning rate until the first drop")
    factor: float = field(0.1, above=0, maximum=1, help="what each drop multiplies the learning rate by")
    at: tuple[float, ...] = field((0.5, 0.75), above=0, maximum=1, help="shares of training after which it drops")

    def validate(self) -> None:
        """Raises `UserError` where no moment is given or they do not rise."""
        if not self.at or list(self.at) != sorted(set(self.at)):
            raise UserError(
                f"at: {self.at} was given; give one or more rising shares of training, such as (0.5, 0.75)."
            )

    def value(self, step: Steps, total_steps: Steps) -> Float32[Array, ""]:
        """See `Schedule.value`."""
        step, total = _floats(step, total_steps)
        passed = sum(((step >= _steps_of(m, total)).astype(jnp.float32) for m in self.at), start=jnp.zeros(()))
        return self.initial * self.factor**passed


class ExponentialDecay(Schedule):
    """The learning rate falls by the same share in every step, from its first to its last value.

    Equal to ``optax.exponential_decay`` with ``decay_rate = final / initial`` over the whole training.
    """

    initial: float = field(1e-2, above=0, help="learning rate of the first update")
    final: float = field(1e-4, above=0, help="learning rate at the end of training")

    def value(self, step: Steps, total_steps: Steps) -> Float32[Array, ""]:
        """See `Schedule.value`."""
        step, total = _floats(step, total_steps)
        progress = jnp.minimum(step / jnp.maximum(total, 1), 1)
        return self.initial * jnp.power(self.final / self.initial, progress)


def _floats(step: Steps, total_steps: Steps) -> tuple[Float32[Array, ""], Float32[Array, ""]]:
    """Both counts as float32, exact up to 16 million steps and then to seven digits."""
    return jnp.asarray(step, jnp.float32), jnp.asarray(total_steps, jnp.float32)


def _steps_of(share: float | Array, total: Float32[Array, ""]) -> Float32[Array, ""]:
    """A share of training as the nearest whole number of steps."""
    return jnp.round(share * total)


def _cosine(start: float | Array, end: float | Array, progress: Float32[Array, ""]) -> Float32[Array, ""]:
    """Half a cosine from ``start`` (progress 0) to ``end`` (progress 1 and later)."""
    return end + (start - end) * (0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(progress, 0, 1))))
