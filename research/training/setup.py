"""Everything a run stands on, made from the experiment: data on the device, order, cadence, programs."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from research.allocator import check_variable
from research.data.feed import Feed, Reading
from research.data.placing import Shapes
from research.data.prepare import Data, Examples, Listener, Prepared
from research.data.resident import ResidentFeed, put
from research.data.shelf import Shelf
from research.data.streaming import StreamingFeed
from research.errors import UserError
from research.experiment import Execution, Experiment, Parallel
from research.models.model import Model
from research.spec.values import concrete_specs
from research.task import Task
from research.training.determinism import make_deterministic
from research.training.layout import Layout, layout_of
from research.training.loop import Cadence
from research.training.lowerings import lowerings_of
from research.training.processor import pose
from research.training.program import Program
from research.training.splits import resident_splits, streamed_splits
from research.training.steps import Outline, Split, seen_by_model
from research.training.virtual_devices import Choice

LARGEST_SEED = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Setup:
    """What `set_up` makes.

    Attributes:
        experiment, seed, execution: as given.
        device: where everything runs.
        prepared: the data on the host; None for an algorithm without data.
        splits: the splits that are evaluated, by name; empty without data.
        reading: which rows each update reads; None without data.
        feed: how they reach the device; None without data.
        cadence: when what happens.
        program: the compiled programs.
        choice: over how many virtual devices of a processor the rows are spread; None where it does not pose as any.
        fed: where the rows are and why, for the card; empty where that was asked for or there is no choice.
        lowered: how layers compute and why, for the card; empty where nothing was measured.
    """

    experiment: Experiment
    seed: int
    execution: Execution
    device: Any
    prepared: Prepared | None
    splits: dict[str, Split]
    reading: Reading | None
    feed: Feed | None
    cadence: Cadence
    program: Program
    choice: Choice | None = None
    fed: str = ""
    lowered: str = ""

    @property
    def examples_per_update(self) -> int:
        """Rows that one update consumes; 0 without data."""
        return self.reading.batch_size * self.reading.batches_per_update if self.reading is not None else 0

    @property
    def streamed(self) -> bool:
        """Whether rows are read from disk as training goes."""
        return isinstance(self.feed, StreamingFeed)

    @property
    def programs(self) -> int:
        """Over how many devices the rows of a batch are spread."""
        layout = self.program.outline.layout
        return 1 if layout is None else layout.programs

    def close(self) -> None:
        """End what reads for it, where another setup takes its place or the run has ended."""
        if self.feed is not None:
            self.feed.close()

    def over(self, choice: Choice) -> Setup:
        """The same with its rows over so many virtual devices of the processor."""
        assert self.prepared is not None and self.reading is not None
        parallel = self.execution.parallel.replace(data=choice.devices)
        known = self.prepared, self.reading, self.cadence, self.streamed
        made = _placed(self.experiment, self.seed, self.execution, parallel, self.device, *known)
        return dataclasses.replace(made, choice=choice, fed=self.fed)

    def computing(self, lowerings: str) -> Setup:
        """The same, with the same arrays and feed, with its layers computed by these lowerings."""
        execution, program = self.execution.replace(lowerings=lowerings), self.program.computing(lowerings)
        return dataclasses.replace(self, execution=execution, program=program)


def set_up(
    experiment: Experiment,
    seed: int,
    execution: Execution,
    extended_to: int | None = None,
    listener: Listener | None = None,
    pretended: bool = False,
) -> Setup:
    """Prepare the data, put it on the device, and outline the programs; nothing is compiled yet.

    Args:
        experiment: a checked experiment.
        seed: seed of the run, 0 to 2**32 - 1.
        execution: how to run.
        extended_to: number of updates where the run goes on beyond what the experiment says.
        listener: told of progress in preparing the data.
        pretended: shapes stand for the data, and all devices of the kind that divide the batch are used; see
            `research.training.pretend`.

    Raises:
        UserError: for data, batch size, seed or device that do not fit.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"seed: a whole number from 0 to {LARGEST_SEED} is needed, {seed!r} was given.")
    device, remat = choose_device(execution.device, execution.deterministic), remat_of(experiment, execution)
    if not experiment.algorithm.uses_data:
        _check_nothing_to_share(experiment, execution.parallel)
        cadence = cadence_of(experiment, execution, None, False, extended_to)
        outline = Outline(0, None, device.platform, remat=remat, lowerings=lowerings_of(execution, device))
        program = Program(experiment, seed, length_of(experiment, None), outline, None, device)
        return Setup(experiment, seed, execution, device, None, {}, None, None, cadence, program)
    assert experiment.data is not None
    shelf = Shelf()
    streamed, why = reads_from_disk(execution, experiment.data, shelf)
    prepared = experiment.data.prepare(streamed, listener, shelf)
    reading = reading_of(experiment, prepared, seed)
    check_fit(experiment, prepared)
    cadence = cadence_of(experiment, execution, reading, "validation" in prepared.splits, extended_to)
    known = prepared, reading, cadence, streamed
    return dataclasses.replace(
        _placed(experiment, seed, execution, execution.parallel, device, *known, pretended), fed=why
    )


def reads_from_disk(execution: Execution, data: Data, shelf: Shelf) -> tuple[bool, str]:
    """Whether rows are read from disk as training goes, and for the card why; nothing where the user has said so."""
    if execution.feed != "auto":
        return execution.feed == "streaming", ""
    held = data.held_bytes(shelf)
    if not held:
        return False, ""
    size, most = held / 2**20, execution.resident_mib
    limit = f"than execution.resident_mib={most:,}"
    if size <= most:
        return False, f"resident: {size:,.1f} MiB are no more {limit}"
    return True, f"streaming from disk: {size:,.1f} MiB are more {limit}"


def _placed(
    experiment: Experiment,
    seed: int,
    execution: Execution,
    parallel: Parallel,
    device: Any,
    prepared: Prepared,
    reading: Reading,
    cadence: Cadence,
    streamed: bool,
    pretended: bool = False,
) -> Setup:
    """A setup of data that are prepared, on the devices that ``parallel`` names."""
    train = prepared.splits["train"]
    fitted, example = with_fitted(experiment, prepared), put(first_row(train), prepared.task, device)
    # Not `jax.devices()`: it has those of the best kind alone.
    devices = jax.devices(device.platform)
    layout = layout_of(parallel, devices, reading.batch_size, pretended=pretended)
    if layout is not None:
        _check_side_by_side(experiment, layout)
        layout = dataclasses.replace(layout, axes=experiment.algorithm.axes(fitted, seen_by_model(fitted, example)))
    place, spread = (device, None) if layout is None else (layout.everywhere, layout.rows)
    if pretended and layout is not None:
        place = Shapes(place)
    cached = device.platform == "cpu" and not pretended
    feed: Feed
    splits: dict[str, Split]
    if streamed:
        feed = StreamingFeed(reading, train, prepared.task, cadence.total, execution.workers, place, spread)
        splits = dict(streamed_splits(experiment, prepared, place, layout, cached))
    else:
        resident = resident_splits(prepared, place)
        feed, splits = ResidentFeed(reading, resident["train"], place), dict(resident)
    remat, lowerings = remat_of(experiment, execution), lowerings_of(execution, device)
    known = reading.batch_size, prepared.task, device.platform, layout
    outline = Outline(*known, remat=remat, lowerings=lowerings, cached=cached)
    program = Program(fitted, seed, length_of(experiment, reading), outline, example, device)
    return Setup(experiment, seed, execution, device, prepared, splits, reading, feed, cadence, program)


def _check_nothing_to_share(experiment: Experiment, parallel: Parallel) -> None:
    """Raise `UserError` where devices, or processes, are to share the rows of an algorithm that reads none."""
    name = type(experiment.algorithm).__name__
    asked = max(parallel.data, 1) * parallel.fsdp * parallel.tensor
    if asked > 1:
        raise UserError(
            f"execution.parallel: data {parallel.data}, fsdp {parallel.fsdp} and tensor {parallel.tensor} were asked "
            f"for, but {name} reads no data whose rows devices could share: it runs on one. Leave execution.parallel "
            f"out."
        )
    if jax.process_count() > 1:
        raise UserError(
            f"algorithm: {name} reads no data whose rows processes could share, and {jax.process_count()} were started "
            f"for this run. Start one."
        )


def _check_side_by_side(experiment: Experiment, layout: Layout) -> None:
    """Raise `UserError` where programs side by side, each with its own rows, would change rows in another way."""
    mixing = None if experiment.data is None else experiment.data.mixes_rows()
    if layout.mode == "pmap" and mixing is not None:
        raise UserError(
            f"execution.parallel.mode: pmap does not go with data.{mixing}, which mixes each row with another one of "
            f"the whole batch: a program for each device sees its own rows alone. Set execution.parallel.mode=jit, or "
            f"data.{mixing}=none."
        )


def remat_of(experiment: Experiment, execution: Execution) -> bool:
    """Whether blocks keep nothing for the backward pass; raises `UserError` where the model has no blocks."""
    if execution.remat == "none":
        return False
    if experiment.model is None or not experiment.model.has_blocks:
        name = "an experiment without model" if experiment.model is None else type(experiment.model).__name__
        having = [k.__name__ for k in concrete_specs(Model).values() if issubclass(k, Model) and k.blocks_apart]
        raise UserError(
            f"execution.remat: {name} has no blocks whose insides could be computed again. Set execution.remat=none; "
            f"models with blocks: {', '.join(sorted(having))}."
        )
    return True


def reading_of(experiment: Experiment, prepared: Prepared, seed: int) -> Reading:
    """Which rows of train each update reads.

    Raises:
        UserError: for a batch size larger than train, or batches that cannot be both balanced and of one length.
    """
    train = prepared.splits["train"]
    count = len(train)
    batch_size = count if experiment.batch_size is None else experiment.batch_size
    if batch_size > count:
        raise UserError(
            f"batch_size: {batch_size} is larger than the training split, which has {count} examples. "
            f"Give at most {count}, or none for the whole split."
        )
    classes = train.targets if prepared.data.balanced else None
    groups = prepared.groups()
    if classes is not None and groups is not None:
        raise UserError(
            "data.balanced, data.lengths: batches are either balanced or of series alike in length; set one."
        )
    loss = experiment.loss
    if groups is not None and loss is not None and loss.compares_rows:
        raise UserError(
            f"data.lengths: {type(loss).__name__} compares the patients of a batch, but with several "
            f"lengths a batch holds series that are alike in length alone. Leave data.lengths out (data.longest says "
            f"how long series may be), or use another loss, such as DiscreteTimeHazard."
        )
    return Reading(seed, count, batch_size, experiment.algorithm.batches_per_update, classes, groups)


def with_fitted(experiment: Experiment, prepared: Prepared) -> Experiment:
    """The experiment with the statistics of train in its data and its loss, as the programs take them."""
    loss = experiment.loss
    if loss is not None:
        if prepared.data.balanced and getattr(loss, "balanced", False):
            raise UserError("data.balanced, loss.balanced: each makes classes count alike; set one of them.")
        loss = loss.fitted(prepared.task, prepared.splits["train"].targets)
    return experiment.replace(data=prepared.data, loss=loss)


def first_row(examples: Examples) -> Examples:
    """The first row alone."""
    rows = np.arange(1)
    return Examples(
        examples.read(rows), examples.targets[rows], examples.example[rows], None, examples.patient_code[rows]
    )


def check_fit(experiment: Experiment, prepared: Prepared) -> None:
    """Raise `UserError` unless model and loss fit data and task, and the metric that chooses weights is defined."""
    if experiment.model is not None:
        experiment.model.check_data(prepared.details(), prepared.task)
        _check_ahead(experiment, prepared)
    if experiment.loss is not None:
        experiment.loss.outputs(prepared.task)
    select, task = experiment.evaluation.select, prepared.task
    if select is None or "validation" not in prepared.splits:
        return
    if select.metric == "concordance" and task.kind == "survival":
        if not prepared.splits["validation"].targets[:, 1].any():
            raise UserError(
                f"evaluation.select.metric: concordance is not defined on validation, where {task.names[0]!r} came to "
                f"no one. Use loss, or change data.split."
            )
        return
    if select.metric != "auroc" or task.kind != "binary":
        return
    present = set(np.unique(prepared.splits["validation"].targets))
    for number, name in enumerate(task.names):
        if number not in present:
            raise UserError(
                f"evaluation.select.metric: auroc is not defined on validation, which has no example of class "
                f"{name!r}. Use loss, or change data.split."
            )


def _check_ahead(experiment: Experiment, prepared: Prepared) -> None:
    """Raise `UserError` where the model would read the targets off its inputs."""
    remedy = experiment.model.looks_ahead if experiment.model is not None else ""
    if prepared.task.ahead and remedy:
        name = remedy.split("=")[0]
        raise UserError(
            f"model.{name}: the target at each step is among the inputs of the next step, which this model sees: it "
            f"would copy it, and predict nothing. Set model.{remedy}."
        )


def looks_ahead(experiment: Experiment, task: Task | None) -> tuple[str, ...]:
    """A sentence where outputs at each step rest on later steps too, which is right for what is judged afterwards."""
    remedy = experiment.model.looks_ahead if experiment.model is not None else ""
    if task is None or not task.per_step or not remedy:
        return ()
    return (
        f"the outputs at each step use later steps too: fit to judge a series afterwards, not while it goes on. Set "
        f"model.{remedy} for outputs from the past alone.",
    )


def length_of(experiment: Experiment, reading: Reading | None) -> int:
    """Updates that the experiment says."""
    if experiment.steps is not None:
        return experiment.steps
    assert experiment.epochs is not None and reading is not None
    return experiment.epochs * reading.updates_per_epoch


def cadence_of(
    experiment: Experiment, execution: Execution, reading: Reading | None, validated: bool, extended_to: int | None
) -> Cadence:
    """When what happens; raises `UserError` where weights are to be chosen and there is no validation split."""
    evaluation = experiment.evaluation
    per_epoch = reading.updates_per_epoch if reading is not None else None
    every = evaluation.every_steps or evaluation.every_epochs * (per_epoch or 1)
    if evaluation.select is not None and reading is not None and not validated:
        raise UserError("evaluation.select: there is no validation split to choose on. Set data.split.validation=0.2.")
    return Cadence(
        total=extended_to or length_of(experiment, reading),
        evaluate=every if validated or reading is None else None,
        log=execution.log_every,
        checkpoint=execution.checkpoint_every,
        per_epoch=per_epoch,
    )


def choose_device(kind: str, deterministic: bool) -> Any:
    """The first device of the kind asked for; whoever needs one calls this first, for JAX starts here.

    Args:
        kind: as in `Execution`.
        deterministic: as in `Execution`.

    Raises:
        UserError: if there is none, naming those there are.
    """
    check_variable()
    if deterministic:
        make_deterministic(kind)
    pose()
    if kind == "auto":
        return jax.local_devices()[0]
    try:
        return jax.local_devices(backend=kind)[0]
    except RuntimeError:
        there = ", ".join(sorted({device.platform for device in jax.devices()}))
        raise UserError(
            f"execution.device: {kind!r} is not here; this process sees {there}. Use device=auto."
        ) from None
