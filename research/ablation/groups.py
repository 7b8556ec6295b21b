"""Members that share a compiled program: those alike in structure, length of training and sizes of their data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from research.ablation.ablation import Member
from research.data.feed import Reading
from research.data.pool import same_bits
from research.data.prepare import Listener, Prepared
from research.data.shelf import Shelf
from research.errors import UserError
from research.experiment import Execution, Experiment, StartFrom
from research.spec import fingerprint
from research.training.loop import Cadence
from research.training.lowerings import lowerings_of
from research.training.setup import (
    cadence_of,
    check_fit,
    choose_device,
    length_of,
    reading_of,
    reads_from_disk,
    remat_of,
    with_fitted,
)
from research.training.start_from import content_hash
from research.training.steps import Outline, traced_part


@dataclasses.dataclass(frozen=True)
class Ready:
    """A member with its data prepared.

    Attributes:
        member: the member.
        fitted: its experiment with the statistics of its training rows.
        prepared: its data on the host; None without data.
        reading: which rows each update reads; None without data.
        total_updates: length of its training.
        cadence: when what happens.
        start: hash of the weights of another run that it begins with; empty for fresh ones.
        workers: processes that read its rows from disk as training goes; None where they are in device memory.
    """

    member: Member
    fitted: Experiment
    prepared: Prepared | None
    reading: Reading | None
    total_updates: int
    cadence: Cadence
    start: str = ""
    workers: int | None = None

    @property
    def streamed(self) -> bool:
        """Whether its rows are read from disk as training goes."""
        return self.workers is not None

    @property
    def data(self) -> str:
        """Fingerprint of its data, and of the weights that it begins with where another run has trained them."""
        data = "" if self.prepared is None else self.prepared.fingerprint
        return f"{data} from {self.start}" if self.start else data

    @property
    def rows(self) -> int:
        """Number of its splits: equal for members of one `Stock` that have the same rows; 0 without data."""
        return 0 if self.prepared is None else id(self.prepared.splits)

    @property
    def order(self) -> Any:
        """What decides which rows each update reads: equal for members that read the same."""
        reading = self.reading
        if reading is None:
            return None
        classes = None if reading.classes is None else self.rows
        groups = None if reading.groups is None else reading.groups.tobytes()
        return classes, groups, reading.seed, reading.examples, reading.batch_size, reading.batches_per_update


@dataclasses.dataclass(frozen=True)
class Group:
    """Members that one program trains.

    Attributes:
        members: with their data prepared.
        outline: what specialises the program beside the structure of the experiments.
        cadence: when what happens, the same for all.
    """

    members: tuple[Ready, ...]
    outline: Outline
    cadence: Cadence


class Stock:
    """Data prepared once for all members that have the same.

    Members whose data differ in what the program does alone, such as the strength of an augmentation, have the same
    splits: the same object, so that their rows are in memory, on a device and read from disk once.
    """

    def __init__(self, listener: Listener | None = None) -> None:
        self.listener = listener
        self._prepared: dict[str, Prepared] = {}
        self._shelf = Shelf()
        self._starts: dict[StartFrom, str] = {}

    def ready(self, member: Member, execution: Execution) -> Ready:
        """A member with its data.

        Raises:
            UserError: naming the member, for data, batch size or metric that do not fit, or weights to start from that
                are not there.
        """
        experiment = member.experiment
        try:
            start = self._start(experiment.start_from)
            if experiment.data is None or not experiment.algorithm.uses_data:
                cadence = cadence_of(experiment, execution, None, False, None)
                return Ready(member, experiment, None, None, length_of(experiment, None), cadence, start)
            key, streamed = fingerprint(experiment.data), reads_from_disk(execution, experiment.data, self._shelf)[0]
            if key not in self._prepared:
                self._prepared[key] = self._shared(experiment.data.prepare(streamed, self.listener, self._shelf))
            prepared = self._prepared[key]
            reading = reading_of(experiment, prepared, member.seed)
            check_fit(experiment, prepared)
            cadence = cadence_of(experiment, execution, reading, "validation" in prepared.splits, None)
            fitted = with_fitted(experiment, prepared)
            length, workers = length_of(experiment, reading), execution.workers if streamed else None
            return Ready(member, fitted, prepared, reading, length, cadence, start, workers)
        except UserError as error:
            raise type(error)(f"{member.name}: {error}") from None

    def _shared(self, prepared: Prepared) -> Prepared:
        """The same with the splits of what was prepared earlier, where these are equal to the bit."""
        for other in self._prepared.values():
            # The fingerprint is that of raw rows, of which preprocessing may have made other inputs or targets.
            same = other.fingerprint == prepared.fingerprint and other.task == prepared.task
            if same and _equal(other.splits, prepared.splits):
                return dataclasses.replace(prepared, splits=other.splits)
        return prepared

    def _start(self, start: StartFrom | None) -> str:
        if start is None:
            return ""
        if start not in self._starts:
            self._starts[start] = content_hash(start)
        return self._starts[start]


def group(members: Iterable[Member], stock: Stock, execution: Execution) -> tuple[Group, ...]:
    """The groups of some members, each in the order in which its first member comes.

    Raises:
        UserError: as `Stock.ready`, or where the device is not here.
    """
    device = choose_device(execution.device, execution.deterministic)
    found: dict[Any, list[Ready]] = {}
    outlines: dict[Any, Outline] = {}
    for member in members:
        ready = stock.ready(member, execution)
        outline = Outline(
            0 if ready.reading is None else ready.reading.batch_size,
            None if ready.prepared is None else ready.prepared.task,
            device.platform,
            remat=remat_of(ready.fitted, execution),
            lowerings=lowerings_of(execution),
            cached=device.platform == "cpu",
        )
        leaves, structure = jax.tree.flatten(traced_part(ready.fitted))
        key = (structure, tuple(map(_kind, leaves)), outline, ready.cadence, _sizes(ready))
        found.setdefault(key, []).append(ready)
        outlines[key] = outline
    return tuple(Group(tuple(all_), outlines[key], all_[0].cadence) for key, all_ in found.items())


def _equal(one: Any, other: Any) -> bool:
    """Whether two values, down to the arrays of their fields, are equal to the bit; False where that is not known."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other) if one.dtype.hasobject else same_bits(one, other)
    if dataclasses.is_dataclass(one):
        names = (field.name for field in dataclasses.fields(one))
        return all(_equal(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, dict):
        return list(one) == list(other) and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return isinstance(one, str | bytes | int | float | np.generic | Path) and bool(one == other)


def _kind(leaf: Any) -> Any:
    """What a program knows of a number of an experiment."""
    return type(leaf) if isinstance(leaf, bool | int | float) else jax.typeof(leaf)


def devices_of(execution: Execution) -> list[Any]:
    """All devices of this process that are of the kind asked for; raises `UserError` if there is none."""
    first = choose_device(execution.device, execution.deterministic)
    return [device for device in jax.devices(first.platform) if device.process_index == first.process_index]


def check_comparable(groups: Iterable[Group]) -> None:
    """Whether all arms are judged on the same rows, fold by fold.

    Raises:
        UserError: naming an arm with other rows, before anything is trained.
    """
    first: dict[Any, tuple[str, Any]] = {}
    seen: dict[int, Any] = {}
    for ready in (ready for its in groups for ready in its.members):
        prepared = ready.prepared
        if prepared is None or ready.fitted.algorithm.rows != "example":
            continue
        if ready.rows not in seen:
            rows = prepared.splits.get("test", prepared.splits["train"])
            seen[ready.rows] = prepared.task, rows.example.tobytes(), rows.targets.tobytes(), rows.targets.shape
        arm, judged = first.setdefault((ready.member.fold, ready.member.inner), (ready.member.arm, seen[ready.rows]))
        if judged != seen[ready.rows]:
            raise UserError(
                f"{arm} and {ready.member.arm}: they have other test rows or targets, so that nothing can be said of "
                f"their difference. Variants must keep the source of the data, its task and its test split."
            )


def _sizes(ready: Ready) -> Any:
    """Shapes and types of what its programs read."""
    if ready.prepared is None or ready.reading is None:
        return None
    sizes = []
    for name, examples in ready.prepared.splits.items():
        rows = max(len(examples), examples.room)
        like, structure = jax.tree.flatten(examples.like)
        each = tuple((leaf.shape, str(leaf.dtype)) for leaf in like)
        sizes.append((name, rows, structure, each, examples.targets.shape[1:], str(examples.targets.dtype)))
    return tuple(sizes), ready.reading.batches_per_update
