"""Losses of classes and labels."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32, Shaped

from research.errors import UserError
from research.losses.base import Loss, PerExample, Targets, check_count, numbers, row_of
from research.spec import field
from research.task import NO_LABEL, Kind, Task


class CrossEntropy(Loss):
    """Cross-entropy of the softmax over the classes, ``-log p(class)``, in nats; a binary task has two outputs.

    Class weights and label smoothing (Szegedy et al., "Rethinking the inception architecture", CVPR 2016: the target
    is ``1 - s`` on the class plus ``s / C`` on all) combine as in torch's ``CrossEntropyLoss``.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("binary", "multiclass")

    label_smoothing: float | None = field(None, minimum=0, below=1, help="share of the target spread over all classes")
    class_weight: tuple[float, ...] | None = field(None, minimum=0, help="a weight per class, in the task's order")
    balanced: bool = field(False, help="class weights from train: N / (classes * rows of the class)")

    def validate(self) -> None:
        """Weights come from one place."""
        _check_balanced(self.balanced, class_weight=self.class_weight)

    def check_task(self, task: Task) -> None:
        """See `Loss.check_task`."""
        super().check_task(task)
        check_count("class_weight", self.class_weight, task)

    def fitted(self, task: Task, targets: Shaped[np.ndarray, "N ..."]) -> CrossEntropy:
        """See `Loss.fitted`."""
        if not self.balanced:
            return self
        return self.replace(balanced=False, class_weight=balanced_weights(targets, len(task.names)))

    def per_example(self, outputs: Float32[Array, "B K"], targets: Targets) -> PerExample:
        """See `Loss.per_example`; the weight of an example is that of its class."""
        chosen = jax.nn.one_hot(targets, outputs.shape[1], dtype=outputs.dtype)
        share = _smooth(chosen, self.label_smoothing, outputs.shape[1])
        weight = jnp.ones(outputs.shape[:1], outputs.dtype)
        if self.class_weight is not None:
            weights = jnp.broadcast_to(row_of(self.class_weight, outputs), outputs.shape)
            share, weight = share * weights, (chosen * weights).sum(1)
        return -(share * jax.nn.log_softmax(outputs)).sum(1), weight


class BinaryCrossEntropy(Loss):
    """Cross-entropy of a sigmoid per output: one output for a binary task, one per label for a multi-label one.

    Labels that are NaN are missing: they cost nothing, weigh nothing and give no gradient. An example's weight is the
    number of its observed labels. Label smoothing draws targets towards one half: ``t (1 - s) + s / 2``.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("binary", "multilabel")

    label_smoothing: float | None = field(None, minimum=0, below=1, help="pull of the targets towards one half")
    class_weight: tuple[float, ...] | None = field(
        None, minimum=0, help="weights of the negative and the positive class, binary tasks only; normalised by"
    )
    positive_weight: tuple[float, ...] | None = field(
        None, above=0, help="what a positive costs beside a negative, one number per label; not normalised by"
    )
    balanced: bool = field(
        False,
        help="weights from train: class_weight N / (2 * rows) for a binary task, else positive_weight "
        "negatives / positives per label",
    )

    def validate(self) -> None:
        """Weights come from one place."""
        _check_balanced(self.balanced, class_weight=self.class_weight, positive_weight=self.positive_weight)

    def fitted(self, task: Task, targets: Shaped[np.ndarray, "N ..."]) -> BinaryCrossEntropy:
        """See `Loss.fitted`."""
        if not self.balanced:
            return self
        if task.kind == "binary":
            return self.replace(balanced=False, class_weight=balanced_weights(targets, 2))
        positive, negative = (targets == 1).sum(0), (targets == 0).sum(0)
        return self.replace(balanced=False, positive_weight=tuple(negative / np.maximum(positive, 1)))

    def outputs(self, task: Task) -> int:
        """See `Loss.outputs`."""
        self.check_task(task)
        return 1 if task.kind == "binary" else len(task.names)

    def check_task(self, task: Task) -> None:
        """See `Loss.check_task`."""
        super().check_task(task)
        if task.kind == "multilabel" and self.class_weight is not None:
            raise UserError("loss.class_weight is for binary tasks; for several labels use positive_weight.")
        check_count("class_weight", self.class_weight, task)
        if task.kind == "binary" and self.positive_weight is not None and len(self.positive_weight) != 1:
            raise UserError(
                f"loss.positive_weight: one number is needed for a binary task, "
                f"{len(self.positive_weight)} were given: {self.positive_weight}."
            )
        if task.kind == "multilabel":
            check_count("positive_weight", self.positive_weight, task)

    def per_example(self, outputs: Float32[Array, "B K"], targets: Targets) -> PerExample:
        """See `Loss.per_example`."""
        labels, observed = numbers(targets, outputs)
        share = _smooth(labels, self.label_smoothing, 2)
        positive, negative, weight = share, 1 - share, observed.astype(outputs.dtype)
        if self.positive_weight is not None:
            positive = positive * jnp.broadcast_to(row_of(self.positive_weight, outputs), outputs.shape)
        if self.class_weight is not None:
            below, above = self.class_weight
            positive, negative = positive * above, negative * below
            weight = labels * above + (1 - labels) * below
        cost = positive * jax.nn.softplus(-outputs) + negative * jax.nn.softplus(outputs)
        return jnp.where(observed, cost, 0).sum(1), weight.sum(1)


class Focal(Loss):
    """Focal loss, ``-(1 - p)^gamma log p`` of the true class: easy examples count less.

    Lin et al., "Focal loss for dense object detection", ICCV 2017. One sigmoid for a binary task and one per label for
    a multi-label one (missing labels as in `BinaryCrossEntropy`), a softmax for several classes. With ``gamma=0`` it
    is cross-entropy.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("binary", "multiclass", "multilabel")

    gamma: float = field(2.0, minimum=0, help="how much less easy examples count")
    alpha: float | None = field(
        None, above=0, below=1, help="factor of positives, 1 - alpha of negatives; binary and multi-label tasks"
    )
    class_weight: tuple[float, ...] | None = field(None, minimum=0, help="a weight per class, multi-class tasks only")

    def outputs(self, task: Task) -> int:
        """See `Loss.outputs`."""
        self.check_task(task)
        return 1 if task.kind == "binary" else len(task.names)

    def check_task(self, task: Task) -> None:
        """See `Loss.check_task`."""
        super().check_task(task)
        if task.kind == "multiclass":
            if self.alpha is not None:
                raise UserError("loss.alpha is for binary and multi-label tasks; for several classes use class_weight.")
            check_count("class_weight", self.class_weight, task)
        elif self.class_weight is not None:
            raise UserError(f"loss.class_weight is for multi-class tasks; for a {task.kind} task use alpha.")

    def per_example(self, outputs: Float32[Array, "B K"], targets: Targets) -> PerExample:
        """See `Loss.per_example`."""
        if targets.ndim == 1 and outputs.shape[1] > 1:
            return self._classes(outputs, targets)
        labels, observed = numbers(targets, outputs)
        margin = outputs * (2 * labels - 1)
        # log(1 - p) is -softplus(margin): the power is taken in logarithms, whose gradient is finite at p = 1 too.
        cost = jnp.exp(-self.gamma * jax.nn.softplus(margin)) * jax.nn.softplus(-margin)
        if self.alpha is not None:
            cost = cost * (self.alpha * labels + (1 - self.alpha) * (1 - labels))
        return jnp.where(observed, cost, 0).sum(1), observed.astype(outputs.dtype).sum(1)

    def _classes(self, outputs: Float32[Array, "B K"], targets: Int32[Array, " B"]) -> PerExample:
        chosen = jax.nn.one_hot(targets, outputs.shape[1], dtype=jnp.bool_)
        all_classes = jax.nn.logsumexp(outputs, axis=1)
        log_p = jnp.where(chosen, outputs, 0).sum(1) - all_classes
        log_not = jax.nn.logsumexp(jnp.where(chosen, -jnp.inf, outputs), axis=1) - all_classes
        weight = jnp.ones(outputs.shape[:1], outputs.dtype)
        if self.class_weight is not None:
            weights = jnp.broadcast_to(row_of(self.class_weight, outputs), outputs.shape)
            weight = jnp.where(chosen, weights, 0).sum(1)
        return -weight * jnp.exp(self.gamma * log_not) * log_p, weight


def balanced_weights(targets: Shaped[np.ndarray, "N ..."], classes: int) -> tuple[float, ...]:
    """A weight per class that makes all classes count alike and the mean weight 1: ``N / (classes * rows of it)``.

    Where there is a target at each step, steps are counted, those without a label left out.
    """
    targets = targets[targets != NO_LABEL]
    counts = np.bincount(targets, minlength=classes)
    return tuple(len(targets) / (classes * np.maximum(counts, 1)))


def _check_balanced(balanced: bool, **weights: tuple[float | Array, ...] | None) -> None:
    for name, given in weights.items():
        if balanced and given is not None:
            raise UserError(f"loss.{name}: balanced=true takes the weights from train; remove one of the two.")


def _smooth(share: Float[Array, "B K"], smoothing: float | Array | None, classes: int) -> Float[Array, "B K"]:
    """Targets with a share of them spread evenly over the classes."""
    return share if smoothing is None else share * (1 - smoothing) + smoothing / classes
