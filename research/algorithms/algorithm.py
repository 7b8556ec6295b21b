"""The protocol of every algorithm: `init`, `update`, `evaluate` and what follows from them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import jax
from jaxtyping import Array, Bool, Key

from research.context import Context
from research.models.functional import Axes
from research.spec import Spec

if TYPE_CHECKING:
    from research.experiment import Experiment

Unit = Literal["example", "patient", "episode", "sample"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """All that training changes, in named parts.

    Attributes:
        params: trained parameters, nested dicts of arrays.
        model_state: what the forward pass updates, such as running batch statistics.
        optimizer: state of the optimizer or optimizers.
        extra: dict of what else the algorithm keeps: averaged weights, a second player, replay, an environment.
    """

    params: Any
    model_state: Any
    optimizer: Any
    extra: Any


class Algorithm(Spec):
    """Base of all algorithms. The methods are pure and traced: no host work, no reading of values.

    In traced methods ``spec`` is the experiment without its data and its length of training; what is needed of them
    comes with the batch and the context. ``batch`` is a `research.data.batch.Batch`, or None without data.

    Attributes:
        rows: what one row of `evaluate` stands for.
        uses_data: whether `update` takes a batch; without data the number of updates is given as steps.
        compares_rows: whether a row of `evaluate` rests on the others of its batch, as with a loss that compares them:
            then batches of evaluation have as many rows wherever they are computed.
    """

    abstract: ClassVar[bool] = True
    rows: ClassVar[Unit] = "example"
    uses_data: ClassVar[bool] = True
    compares_rows: ClassVar[bool] = False

    @property
    def batches_per_update(self) -> int:
        """How many batches one update consumes; more than one arrive stacked along a new first axis."""
        return 1 if self.uses_data else 0

    def check(self, spec: Experiment) -> None:
        """Raise `UserError` where the experiment lacks what this algorithm needs; called before tracing."""

    def init(self, spec: Experiment, key: Key[Array, ""], example: Any) -> State:
        """The state before the first update.

        Args:
            spec: the experiment.
            key: key of the initialisers.
            example: shapes and dtypes of one batch of one row (`jax.ShapeDtypeStruct`); None without data.
        """
        raise NotImplementedError

    def update(
        self, spec: Experiment, state: State, batch: Any, key: Key[Array, ""], context: Context
    ) -> tuple[State, dict[str, Array]]:
        """One update: the new state, and scalars among which ``loss`` is watched for being finite.

        Under pmap each device runs this with its own rows of the batch, and has to end with the same state as all
        others. So whatever is made of rows goes through the context before it is kept or returned: gradients through
        ``context.mean``, losses and other means over rows through ``context.ratio``, statistics through either, and
        what compares rows looks at those of ``context.gather``. Draws are made by example
        (`research.keys.example_keys` of ``batch.example``), else devices would draw alike for different rows. With one
        program all of this is the identity. A run whose devices part is ended with a `RunError`.

        Args:
            spec: the experiment.
            state: the state before.
            batch: ``[B, ...]``, or ``[k, B, ...]`` for k `batches_per_update`; None without data.
            key: key of the update, the same on all devices.
            context: see `research.context.Context`.
        """
        raise NotImplementedError

    def axes(self, spec: Experiment, example: Any) -> Axes:
        """Along which axes of which parameters devices may share a layer; see `research.models.functional.axes`.

        Args:
            spec, example: as for `init`.
        """
        return ()

    def deployed(self, spec: Experiment, state: State) -> State:
        """The part of the state that is evaluated, kept as best, and used for prediction."""
        return dataclasses.replace(state, optimizer=())

    def evaluate(
        self, spec: Experiment, state: State, batch: Any, key: Key[Array, ""], context: Context
    ) -> dict[str, Array]:
        """Rows ``{name: [B, ...]}`` for a deployed state, one per example, patient, episode or sample.

        Where ``rows`` is "example" they hold ``prediction``, as `Loss.predict` makes it, and ``loss`` and ``weight``,
        as `Loss.per_example` does; the report is made from them. Other rows are named numbers, reported as means.
        """
        raise NotImplementedError

    def summarize(
        self, spec: Experiment, rows: dict[str, Array], batch: Any, mask: Bool[Array, " N"]
    ) -> dict[str, Array]:
        """Scalars over all rows of a split, computed on the device; they steer early stopping and the best weights.

        Args:
            spec: the experiment.
            rows: rows of the whole split, ``[N, ...]``, padding included.
            batch: the whole split; None without data.
            mask: False on padding rows.
        """
        weight = mask.astype("float32")
        total = weight.sum()
        return {name: (row * weight).sum() / total for name, row in rows.items() if row.ndim == 1}
