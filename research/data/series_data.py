"""`SeriesData`: measurements over time, imputed on the host once, scaled and augmented inside the compiled step."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32, Key, Shaped

from research import keys
from research.data.augmentation import SeriesAugmentation
from research.data.batch import Batch
from research.data.dataset import canonical, hash_of
from research.data.leakage import check_leakage
from research.data.prepare import (
    Listener,
    add_text,
    check_present,
    divide,
    fingerprint_of,
    leaks_of,
    other_kind,
    warnings_of,
)
from research.data.sequences import PreparedSequences, SequenceData, places
from research.data.series import Range, Series, Variable
from research.data.series_inputs import SeriesInputs
from research.data.series_statistics import Statistics, ranges_of, statistics_of, uninformative
from research.data.shelf import Shelf
from research.data.signals import Filter, bin_means, carried_forward, resample_even
from research.data.source import Source
from research.data.split import Split
from research.errors import UserError
from research.spec import Static, check, field, to_json
from research.task import NO_LABEL, Task

AT_ONCE = 4096
"""Series of one length that are filtered and resampled together."""


class SeriesData(SequenceData):
    """What an experiment on series learns from: series, their division, and how they become inputs.

    A model gets a dict: ``values [B, T, C]``, scaled, 0 where nothing is known; ``observed [B, T, C]``, False where a
    value was not measured at that time; ``time [B, T]`` in the unit of the source; ``length [B]``; and ``static
    [B, D]`` where there are static descriptors. On the steps from ``length`` on values are 0 and observed False.

    In this order series are filtered, resampled, cut to ``longest``, imputed and scaled. With ``lengths`` each batch
    holds series that are alike in length and is cut to the shortest of these lengths that fits: fewer steps are
    computed, at the price of one compiled form of the update per length.
    """

    along_steps: ClassVar = ("values", "observed", "time")

    filter: Filter | None = field(None, help="frequencies that are taken out; evenly sampled series only")
    resample: Static[float | None] = field(
        None, above=0, help="time between samples afterwards; of irregular series the means of bins of this width"
    )
    longest: int | None = field(None, minimum=1, help="most samples of a series; none: as many as there are")
    keep: Literal["first", "last"] | None = field(
        None, help="which samples of a series that is longer are kept; none: such a series stops the run"
    )
    impute: Literal["forward", "mean", "none"] = field(
        "forward",
        help="what stands for a value that was not measured: the last one, before the first one the mean of train "
        "(forward); always that mean (mean); nothing, a gap stops the run (none)",
    )
    scaling: Literal["train", "series", "none"] = field(
        "train", help="mean 0 and deviation 1 by all training series (train) or by the series itself (series), or as is"
    )
    augmentation: SeriesAugmentation | None = field(None, help="random changes of the training series")
    statistics: Statistics | None = field(None, help="filled in from train when the data is prepared")

    def validate(self) -> None:
        """Lengths ascend and fit to ``longest``."""
        if list(self.lengths) != sorted(set(self.lengths)):
            raise UserError(f"data.lengths: ascending lengths are needed, {self.lengths} was given.")
        if self.longest is not None and self.lengths and self.lengths[-1] != self.longest:
            raise UserError(
                f"data.lengths: the last one must be data.longest, {self.longest}, and is {self.lengths[-1]}."
            )
        crop = None if self.augmentation is None else self.augmentation.crop
        if crop is not None and self.lengths and self.lengths[0] < crop:
            raise UserError(
                f"data.augmentation.crop: {crop} samples are more than the shortest of data.lengths, {self.lengths}, "
                f"leaves of a batch. Crop to at most {self.lengths[0]}, or leave out shorter lengths."
            )
        if self.keep is not None and self.longest is None and not self.lengths:
            raise UserError("data.keep: it says what is kept of series longer than data.longest, which is not set.")

    def prepare(
        self, stored: bool = False, listener: Listener | None = None, shelf: Shelf | None = None
    ) -> PreparedSeries:
        """See `Data.prepare`; inputs are put together from the series, which are in memory in any case."""
        check(self)
        shelf = shelf or Shelf()
        raw = shelf.load(self.source)
        if not isinstance(raw, Series):
            raise other_kind(self, "series", raw)
        self.check_balanced(raw.task)
        self._check_steps_stay(raw.task)
        raw = dataclasses.replace(raw, alike=raw.hashes())
        split = self.split.assign(raw)
        check_present(raw, split, self.split.required)
        assert raw.alike is not None
        leakage = check_leakage(split, raw.patient, raw.alike)
        leaks = leaks_of(leakage, {}, copies="series")
        complete = bool(raw.observed().all())
        regular = self._regular(raw, complete)
        series = self._bounded(regular)
        lengths = self.lengths or (int(series.lengths.max()),)
        if series.task.per_step:
            # There may be columns of targets that no series has steps for.
            targets = series.targets[:, : lengths[-1]]
            beyond = ((0, 0), (0, lengths[-1] - targets.shape[1]))
            series = dataclasses.replace(series, targets=np.pad(targets, beyond, constant_values=NO_LABEL))
        train = split == "train"
        statistics = statistics_of(series, train)
        inputs = functools.partial(SeriesInputs.of, series, self._imputed(series), lengths[-1])
        return PreparedSeries(
            data=self.replace(statistics=statistics, lengths=lengths),
            splits=divide(series, split, inputs, shelf.largest(self.split, self.source, raw)),
            task=raw.task,
            about=raw.about,
            patients_known=raw.patient is not None,
            fingerprint=fingerprint_of(raw, split, functools.partial(_add_series, series=raw)),
            leakage=leakage,
            warnings=(
                *warnings_of(raw, split, self.source.about().notes),
                *itertools.chain(*leaks.values()),
                *uninformative(series, train),
                *_shortened(regular.lengths, series.lengths),
                *self._looking_ahead(raw.task),
            ),
            leaks=leaks,
            variables=series.variables,
            static_variables=series.static_variables,
            time_unit=series.time_unit,
            interval=raw.interval if raw.time is None else None,
            complete=complete,
            ranges=ranges_of(raw.values, np.repeat(train, raw.lengths), raw.scale),
            static_ranges=() if raw.static is None else ranges_of(raw.static, train, 1.0),
        )

    def _check_steps_stay(self, task: Task) -> None:
        """Raise `UserError` where training would move steps, and so part them from their targets."""
        for name in ("crop", "time_warp") if task.per_step and self.augmentation is not None else ():
            if getattr(self.augmentation, name) is not None:
                raise UserError(
                    f"data.augmentation.{name}: it moves the steps of a series, and the targets belong to the steps as "
                    f"they are. Set it to none; amplitude, baseline, jitter and masks may stay."
                )

    def _looking_ahead(self, task: Task) -> Iterator[str]:
        """Warnings where what a step shows depends on later ones."""
        if task.per_step and self.filter is not None:
            yield "data.filter runs forwards and backwards, so what is said of a step uses later ones."
        if task.per_step and self.scaling == "series":
            yield "data.scaling=series looks at the whole series, so what is said of a step uses later ones."

    def inputs_of(self, series: Series, complete: bool) -> tuple[SeriesInputs, list[str]]:
        """Inputs of new series by what was fitted to train; it is this value with what `prepare` filled in.

        Also a note on series that were cut.

        Args:
            series: float32 values in their units.
            complete: whether every value of the training was observed, which decides how series are resampled.

        Raises:
            UserError: for a series that is longer than ``lengths`` where ``keep`` is none, or has gaps where there may
                be none.
        """
        gaps = ~series.observed().all(axis=1)
        if gaps.any() and complete and (self.filter is not None or self.resample is not None):
            row = int(np.searchsorted(series.starts, np.flatnonzero(gaps)[0], side="right")) - 1
            raise UserError(
                f"{series.about.name}: {series.called(row)} has gaps, and the series of the training, which were "
                f"filtered or resampled, had none. Complete it, or leave it out."
            )
        regular = self._regular(series, complete)
        bounded = self._bounded(regular)
        inputs = SeriesInputs.of(bounded, self._imputed(bounded), self.lengths[-1], np.arange(len(bounded)))
        inputs = dataclasses.replace(inputs, observed=bounded.observed()) if self.impute == "forward" else inputs
        return inputs, _shortened(regular.lengths, bounded.lengths)

    def _regular(self, series: Series, complete: bool) -> Series:
        """Filtered and resampled, float32 where that is asked for; ``complete``: every value is observed."""
        if self.filter is None and self.resample is None:
            return series
        if series.task.per_step and self.resample is not None:
            raise UserError("data.resample: the targets belong to the steps of the series as they are; remove it.")
        even = series.time is None and complete
        if self.filter is not None and not even:
            raise UserError(
                f"data.filter: {series.about.name} is not evenly sampled without gaps; set filter=none, or resample "
                f"it first in a source of your own."
            )
        times: list[np.ndarray] = []
        if even:
            found = self._even(series)
        else:
            assert self.resample is not None
            found = []
            for row in range(len(series)):
                place = series.span(row)
                values = series.values[place].astype(np.float32) * np.float32(series.scale)
                time = np.arange(len(values)) * series.interval if series.time is None else series.time[place]
                values, time = bin_means(values, time.astype(np.float32), self.resample)
                found.append(values)
                times.append(time)
        return dataclasses.replace(
            series,
            values=np.concatenate(found),
            lengths=np.asarray([len(values) for values in found], np.int32),
            time=np.concatenate(times) if times else series.time,
            interval=self.resample or series.interval,
            scale=1.0,
        )

    def _even(self, series: Series) -> list[np.ndarray]:
        """Evenly sampled series, filtered and resampled; those of one length side by side, for they may be many."""
        found: list[np.ndarray] = [np.empty(0)] * len(series)
        for length in np.unique(series.lengths):
            alike = np.flatnonzero(series.lengths == length)
            for part in np.array_split(alike, -(-len(alike) // AT_ONCE)):
                rows = part.tolist()
                values = np.stack([series.values[series.span(row)] for row in rows], axis=1).astype(np.float32)
                columns = values.reshape(len(values), -1) * np.float32(series.scale)
                if self.filter is not None:
                    columns = self.filter.apply(columns, series.interval)
                if self.resample is not None:
                    columns = resample_even(columns, series.interval, self.resample)
                values = columns.reshape(len(columns), *values.shape[1:])
                for place, row in enumerate(rows):
                    found[row] = values[:, place]
        return found

    def _bounded(self, series: Series) -> Series:
        """Series of at most ``longest`` samples, or of the last of ``lengths``."""
        longest = self.lengths[-1] if self.lengths else self.longest
        if longest is None or int(series.lengths.max()) <= longest:
            return series
        over = np.flatnonzero(series.lengths > longest)
        if self.keep is None or series.task.per_step:
            most = int(series.lengths.max())
            enough = {"lengths": (*self.lengths[:-1], most), "longest": most}
            bounds = {f"data.{name}": needed for name, needed in enough.items() if getattr(self, name)}
            wanted = " and ".join(f"{name}={needed}" for name, needed in bounds.items())
            remedy = f"{wanted}." if series.task.per_step else f"{wanted}, or data.keep=last or first."
            how = "Set" if self.statistics is None else "This run takes no longer ones. Shorten it, or train again with"
            raise UserError(
                f"{', '.join(bounds)}: {len(over)} of {len(series)} series of {series.about.name} have more than "
                f"{longest} samples, {series.called(int(np.argmax(series.lengths)))} {most}. {how} {remedy}"
            )
        lengths = np.minimum(series.lengths, longest).astype(np.int32)
        first = series.starts + (series.lengths - lengths if self.keep == "last" else 0)
        chosen = np.repeat(first, lengths) + places(lengths)[1]
        time = None if series.time is None else series.time[chosen]
        return dataclasses.replace(series, values=series.values[chosen], lengths=lengths, time=time)

    def _imputed(self, series: Series) -> Shaped[np.ndarray, "S C"]:
        """Values with gaps filled as far as earlier values fill them; NaN elsewhere."""
        gaps = int((~series.observed()).sum())
        if self.impute == "none" and gaps:
            raise UserError(
                f"data.impute: {gaps:,} of {series.values.size:,} values of {series.about.name} were not measured. "
                f"Complete them, or train with impute=forward or impute=mean."
            )
        return carried_forward(series.values, series.lengths) if self.impute == "forward" and gaps else series.values

    def transform(self, batch: Batch, key: Key[Array, ""] | None = None) -> Batch:
        """See `Data.transform`; the inputs of a model, as the class describes them."""
        stored, statistics = batch.inputs, self.statistics
        assert statistics is not None
        raw = stored["values"].astype(jnp.float32) * statistics.unit
        steps = jnp.arange(raw.shape[1])
        valid = (steps[None, :] < stored["length"][:, None])[..., None]
        known = ~jnp.isnan(raw) & valid
        observed = (stored["observed"] & valid) if "observed" in stored else known
        values = jnp.where(known, raw, 0)
        if self.scaling == "train":
            values = (values - _row(statistics.mean, values)) / _row(statistics.deviation, values)
        elif self.scaling == "series":
            values = _by_itself(values, known)
        values = jnp.where(known, values, 0)
        time = stored.get("time")
        if time is None:
            time = jnp.broadcast_to(steps.astype(jnp.float32) * statistics.interval, raw.shape[:2])
        inputs = {"values": values, "observed": observed, "time": time, "length": stored["length"]}
        if "static" in stored:
            static = stored["static"]
            scaled = (static - _row(statistics.static_mean, static)) / _row(statistics.static_deviation, static)
            inputs["static"] = jnp.where(jnp.isnan(static), 0, scaled)
        if key is not None and self.augmentation is not None:
            inputs = self.augmentation.apply(inputs, keys.example_keys(key, batch.example))
        return dataclasses.replace(batch, inputs=inputs)

    def traced(self) -> SeriesData:
        """See `Data.traced`: scaling, lengths and augmentation."""
        return SeriesData(
            source=Source(),
            split=Split(),
            scaling=self.scaling,
            lengths=self.lengths,
            augmentation=self.augmentation,
            statistics=self.statistics,
        )


@dataclasses.dataclass(frozen=True)
class PreparedSeries(PreparedSequences):
    """Series ready to be trained on and evaluated.

    Attributes:
        variables: what was measured over time.
        static_variables: what is known of each series beside that.
        time_unit: unit of the times.
        interval: time between samples of the source where they are evenly spaced; None where they are irregular.
        complete: whether every value of the source was observed.
        ranges: least and greatest value of each variable in train; None where none was observed.
        static_ranges: of each static descriptor likewise.
    """

    variables: tuple[Variable, ...]
    static_variables: tuple[Variable, ...]
    time_unit: str
    interval: float | None
    complete: bool
    ranges: tuple[Range | None, ...]
    static_ranges: tuple[Range | None, ...]

    def details(self) -> dict[str, Any]:
        """See `Prepared.details`."""
        assert isinstance(self.data, SeriesData) and self.data.statistics is not None
        return {
            "series": {
                "variables": [dataclasses.asdict(variable) for variable in self.variables],
                "static_variables": [dataclasses.asdict(variable) for variable in self.static_variables],
                "time_unit": self.time_unit,
                "interval": self.interval,
                "complete": self.complete,
                # Bins of irregular readings may be empty.
                "gaps": not self.complete or (self.data.resample is not None and self.interval is None),
                "impute": self.data.impute,
                "scaling": self.data.scaling,
                "ranges": list(self.ranges),
                "static_ranges": list(self.static_ranges),
                "samples": self.spread(),
                "lengths": list(self.data.cut_lengths()),
                "statistics": to_json(self.data.statistics),
            }
        }


def _row(numbers: tuple[float | Array, ...], like: Array) -> Array:
    """One number per variable, of the shape of ``like``."""
    return jnp.broadcast_to(jnp.stack([jnp.asarray(number, jnp.float32) for number in numbers]), like.shape)


def _by_itself(values: Float32[Array, "B T C"], known: Bool[Array, "B T C"]) -> Float32[Array, "B T C"]:
    """Each variable of each series brought to mean 0 and variance 1 over its own known values."""
    count = known.sum(1, keepdims=True).clip(1).astype(values.dtype)
    mean = values.sum(1, keepdims=True) / count
    variance = jnp.where(known, jnp.square(values - mean), 0).sum(1, keepdims=True) / count
    return (values - mean) / jnp.sqrt(jnp.where(variance > 1e-12, variance, 1))


def _shortened(before: Int32[np.ndarray, " N"], after: Int32[np.ndarray, " N"]) -> list[str]:
    """How many series ``longest`` has cut, of the lengths before and after."""
    cut = int((after < before).sum())
    return [f"{cut} of {len(before)} series were cut to {int(after.max())} samples."] if cut else []


def _add_series(digest: Any, series: Series) -> None:
    add_text(digest, [text for v in (*series.variables, *series.static_variables) for text in (v.name, v.unit)])
    add_text(digest, [series.time_unit, repr(series.interval), repr(series.scale)])
    assert series.alike is not None
    digest.update(np.ascontiguousarray(series.lengths, "<i4").tobytes())
    digest.update(np.ascontiguousarray(series.alike, "<u8").tobytes())
    if series.static is not None:
        digest.update(np.uint64(hash_of(canonical(series.static))).tobytes())
