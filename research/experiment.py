"""`Experiment`: what would stand in a paper's methods section. `Execution`: how it is carried out."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import jax.numpy as jnp

from research import metrics
from research.algorithms.algorithm import Algorithm
from research.algorithms.supervised import Supervised
from research.data.prepare import Data
from research.errors import UserError
from research.losses import Loss
from research.models.model import Model
from research.optimizers import Adam, Optimizer
from research.spec import Spec, Static, check, field

Device = Literal["auto", "cpu", "gpu", "tpu"]


class Selection(Spec):
    """Which weights are reported: those with the best value of a metric on the validation split.

    Training stops early once ``patience`` evaluations in a row brought no improvement.
    """

    metric: str = field("loss", help="validation metric that is watched")
    patience: int | None = field(None, minimum=1, help="evaluations without improvement before stopping; none: never")
    minimum_improvement: float = field(0.0, minimum=0, help="smaller improvements do not count")

    def validate(self) -> None:
        """The metric must be one whose direction is known."""
        metrics.larger_is_better(self.metric)


class Evaluation(Spec):
    """When the validation split is evaluated during training, and how the final report is made."""

    every_epochs: int = field(1, minimum=1, help="passes over train between evaluations")
    every_steps: int | None = field(None, minimum=1, help="updates between evaluations; overrides every_epochs")
    select: Selection | None = field(None, help="report the best weights on validation; none: the last")
    batch_size: int = field(1024, minimum=1, help="examples per forward pass in evaluation, at most")
    resamples: int = field(1000, minimum=100, help="bootstrap resamples behind each interval")
    seed: int = field(0, minimum=0, help="seed of the bootstrap")


class Precision(Spec):
    """Floating-point types of what is kept, of what is computed with it, and of what comes out.

    Whatever is set here, normalisation, softmax, the gates and states of recurrent layers, penalties, losses and
    metrics are computed in float32, and the output layer adds up in float32.

    float32 is what numbers are kept in and what products add up in. By JAX's default, factors of matrix products and
    convolutions are rounded first where a chip is faster so: to TF32 (10 bits of mantissa) on NVIDIA's GPUs from Ampere
    on, to bfloat16 on TPUs; a processor rounds nothing. ``JAX_DEFAULT_MATMUL_PRECISION=highest`` in the environment
    forbids it, for ``compute`` and the layers named above alike; it is recorded with the run. ``docs/gpu.md`` has both.

    ``params``: with bfloat16 (8 bits of mantissa; Kalamkar et al., "A study of BFLOAT16 for deep learning training",
    2019) parameters, their gradients and the moments of the optimizer take half the memory. Changes of a parameter by
    less than about a 500th of it are lost, so this is for large models; small learning rates stand still. What moves
    more slowly than that stays float32: Adam's mean square, the moving average of the weights, accumulated gradients.

    ``compute``: the forward and backward pass. In float16 small gradients are lost, so the loss is scaled; see
    `research.loss_scale.LossScale`. An update whose gradient is not finite is skipped: parameters, optimizer with the
    count of its schedule, average and batch statistics stay as they are, and with accumulation the next batch takes
    the place of the skipped one. The number of the update goes on, and with it data and draws.

    ``output``: the type to which outputs are rounded before losses and predictions take them, which are float32.
    Under float32 they are not rounded, and examples that differ keep scores that differ.
    """

    params: Literal["float32", "bfloat16"] = field(
        "float32", help="type in which parameters are kept and trained", later=True
    )
    compute: Literal["float32", "bfloat16", "float16"] = field(
        "float32", help="type of the forward and backward pass; float16: with dynamic loss scaling"
    )
    output: Literal["float32", "bfloat16", "float16"] = field(
        "float32", help="type to which outputs of the model are rounded before the loss, which is float32", later=True
    )

    @property
    def params_dtype(self) -> Any:
        """The type of ``params`` as JAX knows it."""
        return jnp.dtype(self.params)

    @property
    def compute_dtype(self) -> Any:
        """The type of ``compute`` as JAX knows it."""
        return jnp.dtype(self.compute)

    @property
    def output_dtype(self) -> Any:
        """The type of ``output`` as JAX knows it."""
        return jnp.dtype(self.output)

    @property
    def scales_loss(self) -> bool:
        """Whether gradients pass through float16."""
        return "float16" in (self.compute, self.output)


class StartFrom(Spec):
    """Start from weights that another run has trained.

    ``map`` pairs name parts of the new model and where they come from, as paths: ``(("encoder", "encoder"),)`` takes
    that part and leaves the rest freshly initialised; empty, everything must fit. Parts below ``frozen`` keep the
    values they start with.
    """

    shorthand: ClassVar[str] = "run"

    run: str = field(help="a run directory, or a checkpoint directory within one")
    weights: Literal["best", "last"] = field("best", help="which of the run's checkpoints")
    map: tuple[tuple[str, str], ...] = field((), help="pairs (path in this model, path in the source)")
    frozen: tuple[str, ...] = field((), help="paths in this model that are not trained")


class Experiment(Spec):
    """One experiment as a value. `jax.tree.leaves` of it are exactly its numeric hyperparameters.

    The seed is no part of it: a run is an experiment and a seed. The length of training is given either as
    ``epochs`` or as ``steps`` (updates).
    """

    data: Data | None = field(None, help="where the examples come from, how they are split and prepared")
    model: Model | None = field(None, help="the network")
    loss: Loss | None = field(None, help="what is minimised")
    optimizer: Optimizer = field(Adam(), help="how it is minimised")
    algorithm: Algorithm = field(Supervised(), help="how one update is made")
    epochs: int | None = field(None, minimum=1, help="passes over the training split")
    steps: int | None = field(None, minimum=1, help="updates; an alternative to epochs")
    batch_size: int | None = field(32, minimum=1, help="examples per batch; none: the whole training split")
    evaluation: Evaluation = field(Evaluation())
    precision: Precision = field(Precision())
    start_from: StartFrom | None = field(None, help="weights to start from")

    def validate(self) -> None:
        """Checks between fields that need no data."""
        if (self.epochs is None) == (self.steps is None):
            raise UserError("epochs, steps: exactly one of them is needed, as the length of training.")
        self.algorithm.check(self)
        if not self.algorithm.uses_data:
            if self.steps is None:
                raise UserError(f"steps: {type(self.algorithm).__name__} has no data, so give steps, not epochs.")
            if self.evaluation.every_steps is None:
                raise UserError("evaluation.every_steps: needed, for without data there are no epochs.")
        if getattr(self.optimizer, "full_batch", False) and self.batch_size is not None:
            raise UserError(
                f"batch_size: {type(self.optimizer).__name__} takes the whole training split at every step; "
                f"set batch_size=none, or use SGD for batches of {self.batch_size}."
            )


class Parallel(Spec):
    """Over how many devices the work of one run is spread, and how.

    ``data``: rows of each batch. ``fsdp``: rows as well, and parameters with all that the optimizer keeps of them.
    ``tensor``: parts of a layer, where layers say which: heads of attention, hidden units, channels. Their product is
    the number of devices; the numbers that come out are those of one device, up to rounding.
    """

    data: int = field(
        -1,
        minimum=-1,
        help="devices that share the rows; -1: all there are that divide the batch, or as many of a processor's cores "
        "as were measured to be fastest, where nothing else of parallel is set",
    )
    fsdp: int = field(1, minimum=1, help="devices that share the rows and the parameters")
    tensor: int = field(1, minimum=1, help="devices that share each layer")
    mode: Literal["jit", "pmap"] = field(
        "jit",
        help="jit: one program over a mesh; pmap: a program on each device, for data alone, and neither for mixup and "
        "cutmix nor for modules of your own that draw or keep statistics of the batch",
    )

    def validate(self) -> None:
        """Programs side by side share rows alone."""
        if self.data == 0:
            raise UserError("parallel.data: 0 devices train nothing. Give a number from 1 on, or -1 for all.")
        if self.mode == "pmap" and (self.fsdp, self.tensor) != (1, 1):
            raise UserError(
                f"parallel.mode: pmap keeps all parameters on each device, so fsdp ({self.fsdp}) and tensor "
                f"({self.tensor}) must be 1. Use mode=jit, or data alone."
            )


class Execution(Spec):
    """How a run is carried out; recorded with it, and free to change when it is resumed."""

    device: Device = field("auto", help="kind of device; auto: the best there is")
    parallel: Parallel = field(Parallel(), help="devices that share the work")
    deterministic: bool = field(
        True,
        help="on a GPU: the same bits from the same program whenever it is compiled and run, by kernels that may be "
        "slower; see research.training.determinism",
    )
    remat: Literal["none", "blocks"] = field(
        "none",
        help="blocks: what is inside each block of a deep model is computed again in the backward pass, not kept: "
        "less memory, about a third more time, the same numbers up to rounding",
    )
    lowerings: Literal["auto", "fast", "reference", "vendor"] = field(
        "auto",
        help="how layers compute on a processor; fast: in the forms that were measured to be fast there; reference: "
        "in those of accelerators, up to a hundred times as slow, the same numbers up to rounding; auto: fast, but for "
        "a long run of its own whichever is measured to be faster here; vendor: on an NVIDIA GPU, LSTMs and attention "
        "by cuDNN where it has them",
    )
    feed: Literal["auto", "resident", "streaming"] = field(
        "auto",
        help="resident: the splits live in device memory; streaming: read from disk as training goes; auto: resident "
        "up to resident_mib; the batches are the same",
    )
    resident_mib: int = field(
        2048,
        minimum=0,
        help="MiB of pictures up to which feed=auto keeps them in memory, on each device that shares the rows",
    )
    workers: int = field(0, minimum=0, help="processes that read for the streaming feed; 0: threads of this one")
    log_every: int | None = field(None, minimum=1, help="updates between lines of metrics.jsonl; none: at evaluations")
    checkpoint_minutes: Static[float] = field(5.0, above=0, help="minutes between checkpoints")
    checkpoint_every: int | None = field(None, minimum=1, help="updates between checkpoints, beside the minutes")
    profile: tuple[int, int] | None = field(
        None, help="a trace of the updates after the first up to the second of these goes into the run directory"
    )
    tensorboard: bool = field(True, help="write TensorBoard events as well")
    figures: bool = field(True, help="write pictures of the report and, of pictures, the worst mistakes")

    def validate(self) -> None:
        """Workers are those of the streaming feed; a trace ends after it begins."""
        if self.profile is not None and not 0 <= self.profile[0] < self.profile[1]:
            raise UserError(f"profile: two numbers of updates such as (10, 20) are needed, {self.profile} was given.")
        if self.workers and self.feed != "streaming":
            raise UserError(
                f"workers: {self.workers} processes were asked for, but with feed={self.feed} nothing need be read in "
                f"training. Set feed=streaming as well, or workers=0."
            )


def check_experiment(value: object, source: str) -> Experiment:
    """``value`` if it is a valid `Experiment`; else a `UserError` that names ``source`` and the field."""
    if not isinstance(value, Experiment):
        raise UserError(f"{source}: an Experiment is needed, {type(value).__name__} was given.")
    check(value)
    return value


def check_execution(value: object) -> Execution:
    """``value`` if it is a valid `Execution`; else a `UserError` that names the field."""
    if not isinstance(value, Execution):
        raise UserError(
            f"execution: an Execution such as Execution(device='cpu') is needed, {type(value).__name__} was given."
        )
    check(value, "execution.")
    return value
