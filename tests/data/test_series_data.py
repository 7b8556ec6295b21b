"""Series become inputs: imputed, scaled by train alone, cut to few lengths, the same from both feeds."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from series import MadeUp
from tiny import QUIET, log_of

import research
from research import Result
from research.data import Filter, Series, SeriesAugmentation, SeriesData, Split
from research.data.order import grouped_epoch
from research.data.resident import put
from research.data.series_data import PreparedSeries
from research.errors import UserError
from research.experiment import Evaluation, Experiment
from research.losses import CoxPH, CrossEntropy
from research.models import RNN
from research.optimizers import SGD
from research.spec import Spec, replace
from research.training.metrics_log import read_metrics
from research.training.setup import set_up


def inputs(data: SeriesData, split: str = "train", key: Any = None) -> tuple[dict[str, np.ndarray], PreparedSeries]:
    prepared = data.prepare()
    assert isinstance(prepared.data, SeriesData)
    # Compiled as one program, and not one for each operation.
    transform = jax.jit(lambda batch: prepared.data.transform(batch, key).inputs)
    return jax.device_get(transform(put(prepared.splits[split], prepared.task))), prepared


def raw_rows(prepared: PreparedSeries, split: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Values and times of each series of a split, from the source."""
    series = prepared.data.source.load()
    assert isinstance(series, Series) and series.time is not None
    return [
        (series.values[series.span(int(row))], series.time[series.span(int(row))])
        for row in prepared.splits[split].example
    ]


def test_values_are_carried_forward_and_scaled_by_train_alone() -> None:
    found, prepared = inputs(SeriesData(source=MadeUp()), "test")
    train = np.concatenate([values for values, _ in raw_rows(prepared, "train")])
    mean, deviation = np.nanmean(train, 0, dtype=np.float64), np.nanstd(train, 0, dtype=np.float64)
    for row, (values, time) in enumerate(raw_rows(prepared, "test")):
        n = len(values)
        assert found["length"][row] == n
        np.testing.assert_array_equal(found["observed"][row], np.pad(~np.isnan(values), ((0, 12 - n), (0, 0))))
        np.testing.assert_array_equal(found["time"][row, :n], time)
        last = np.full(2, np.nan)
        for step in range(n):
            last = np.where(np.isnan(values[step]), last, values[step])
            expected = np.where(np.isnan(last), 0, (last - mean) / deviation)
            np.testing.assert_allclose(found["values"][row, step], expected, atol=1e-5)
        assert not found["values"][row, n:].any()


def test_the_mean_of_train_may_stand_for_every_gap() -> None:
    found, _ = inputs(SeriesData(source=MadeUp(), impute="mean"))
    assert (found["values"][~found["observed"]] == 0).all()
    forward, _ = inputs(SeriesData(source=MadeUp()))
    np.testing.assert_array_equal(found["observed"], forward["observed"])
    np.testing.assert_array_equal(found["values"][found["observed"]], forward["values"][found["observed"]])


def test_each_series_may_be_scaled_by_itself() -> None:
    found, _ = inputs(SeriesData(source=MadeUp(even=True), scaling="series"))
    for row, length in enumerate(found["length"]):
        values = found["values"][row, :length]
        np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(values.std(0), 1, atol=1e-5)


def test_scaling_none_leaves_units_and_counts_become_units() -> None:
    class Counts(MadeUp):
        def load(self) -> Series:
            series = MadeUp(even=True).load()
            return dataclasses.replace(series, values=np.round(series.values * 100).astype(np.int16), scale=0.01)

    found, prepared = inputs(SeriesData(source=Counts(), scaling="none"))
    series = prepared.data.source.load()
    assert isinstance(series, Series)
    row = int(prepared.splits["train"].example[0])
    expected = series.values[series.span(int(row))] * 0.01
    np.testing.assert_allclose(found["values"][0, : len(expected)], expected, rtol=1e-6)
    np.testing.assert_allclose(found["time"][0], 0.5 * np.arange(12))
    scaled, _ = inputs(SeriesData(source=Counts()))
    plain, _ = inputs(SeriesData(source=MadeUp(even=True)))
    np.testing.assert_allclose(scaled["values"], plain["values"], atol=0.01)


def test_static_descriptors_are_scaled_by_train() -> None:
    found, prepared = inputs(SeriesData(source=MadeUp(static=True)))
    np.testing.assert_allclose(found["static"].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(found["static"].std(0), 1, atol=1e-5)
    assert prepared.details()["series"]["static_variables"] == [{"name": "age", "unit": "years"}]


@pytest.mark.parametrize("keep", ["first", "last"])
def test_longer_series_are_cut_where_that_is_asked_for(keep: Any) -> None:
    found, prepared = inputs(SeriesData(source=MadeUp(), longest=5, keep=keep, scaling="none"))
    assert found["values"].shape[1] == 5 and found["length"].max() == 5
    row = int(np.flatnonzero(found["length"] == 5)[0])
    time = raw_rows(prepared, "train")[row][1]
    np.testing.assert_array_equal(found["time"][row], time[:5] if keep == "first" else time[-5:])
    assert any("were cut to 5 samples" in warning for warning in prepared.warnings)


def test_series_that_are_cut_are_counted_after_resampling() -> None:
    def told(**options: Any) -> list[str]:
        prepared = SeriesData(source=MadeUp(even=True), longest=12, keep="last", **options).prepare()
        return [warning for warning in prepared.warnings if "were cut" in warning]

    assert told(resample=1.0) == [] and told(resample=None) == []
    # From 0.5 to 0.25 hours apart: twice as many samples.
    raw = MadeUp(even=True).load().lengths
    assert told(resample=0.25) == [f"{(2 * raw > 12).sum()} of 60 series were cut to 12 samples."]


def test_targets_may_have_more_columns_than_there_are_steps() -> None:
    class Wide(MadeUp):
        def load(self) -> Series:
            series = MadeUp(per_step=True).load()
            return dataclasses.replace(series, targets=np.pad(series.targets, ((0, 0), (0, 5)), constant_values=-1))

    wide, plain = (SeriesData(source=source).prepare() for source in (Wide(), MadeUp(per_step=True)))
    for name, examples in plain.splits.items():
        np.testing.assert_array_equal(wide.splits[name].targets, examples.targets)


def test_bins_hold_the_means_of_what_was_observed_in_them() -> None:
    found, prepared = inputs(SeriesData(source=MadeUp(), resample=6.0, scaling="none", impute="mean"))
    for row, (values, time) in enumerate(raw_rows(prepared, "train")):
        bins = np.floor(time / 6).astype(int)
        for step, number in enumerate(range(bins[0], bins[-1] + 1)):
            inside = values[bins == number]
            there = ~np.isnan(inside).all(0) if len(inside) else np.zeros(2, bool)
            np.testing.assert_array_equal(found["observed"][row, step], there)
            for variable in np.flatnonzero(there):
                assert found["values"][row, step, variable] == pytest.approx(np.nanmean(inside[:, variable]), abs=1e-5)
            assert found["time"][row, step] == 6 * (number + 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"longest": 5}, "data.longest: [0-9]+ of 60 series of made up have more than 5 samples, .*data.keep=last"),
        ({"impute": "none"}, "data.impute: [0-9,]+ of [0-9,]+ values of made up were not measured"),
        ({"filter": Filter(high=0.3)}, "data.filter: made up is not evenly sampled"),
        ({"lengths": (8, 4)}, "data.lengths: ascending lengths are needed"),
        ({"lengths": (4, 8), "longest": 12}, "the last one must be data.longest, 12"),
        ({"keep": "last"}, "data.keep: it says what is kept of series longer than data.longest"),
        (
            {"source": MadeUp(per_step=True), "longest": 5, "keep": "last"},
            r"^data.longest: .* 12. Set data.longest=12.$",
        ),
        ({"source": MadeUp(per_step=True), "resample": 2.0}, "data.resample: the targets belong to the steps"),
        (
            {"source": MadeUp(per_step=True), "augmentation": SeriesAugmentation(time_warp=0.1)},
            "data.augmentation.time_warp: it moves the steps of a series",
        ),
        (
            {"source": MadeUp(per_step=True), "augmentation": SeriesAugmentation(crop=2)},
            "data.augmentation.crop: it moves the steps of a series",
        ),
        (
            {"lengths": (4, 12), "augmentation": SeriesAugmentation(crop=8)},
            "data.augmentation.crop: 8 samples are more",
        ),
        ({"source": MadeUp(per_step=True), "balanced": True}, "data.balanced: only classes of examples"),
    ],
)
def test_what_does_not_fit_is_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SeriesData(source=MadeUp()).replace(**changes).prepare()


@pytest.mark.parametrize(
    ("bounds", "remedy"),
    [
        ({"longest": 5}, {"longest": 12}),
        ({"lengths": (4, 8)}, {"lengths": (4, 12)}),
        ({"lengths": (4,)}, {"lengths": (12,)}),
        ({"lengths": (4, 8), "longest": 8}, {"lengths": (4, 12), "longest": 12}),
    ],
)
def test_of_longer_series_is_said_what_was_set_and_what_helps(bounds: dict[str, Any], remedy: dict[str, Any]) -> None:
    data = SeriesData(source=MadeUp(), **bounds)
    with pytest.raises(UserError) as told:
        data.prepare()
    assert str(told.value).startswith(f"{', '.join(f'data.{name}' for name in bounds)}: ")
    settings = " and ".join(f"data.{name}={value}" for name, value in remedy.items())
    assert str(told.value).endswith(f"Set {settings}, or data.keep=last or first.")
    prepared = data.replace(**remedy).prepare()
    assert prepared.splits["train"].inputs.longest == 12
    with pytest.raises(UserError, match=r"Shorten it, or train again with data\.[a-z]+=.*keep=last or first\.$"):
        prepared.data.inputs_of(MadeUp(longest=20).load(), complete=False)


def test_looking_ahead_of_a_step_is_told() -> None:
    prepared = inputs(SeriesData(source=MadeUp(per_step=True), scaling="series"))[1]
    assert "data.scaling=series looks at the whole series" in "".join(prepared.warnings)
    assert "later ones" not in "".join(inputs(SeriesData(source=MadeUp(per_step=True)))[1].warnings)


def test_a_variable_that_train_never_shows_is_told_and_becomes_zero() -> None:
    class Lacking(MadeUp):
        def load(self) -> Series:
            series = MadeUp(rows=self.rows).load()
            return dataclasses.replace(series, values=series.values * np.float32([1, np.nan]))

    found, prepared = inputs(SeriesData(source=Lacking()))
    assert not found["values"][..., 1].any() and not found["observed"][..., 1].any()
    assert "pressure is never observed in train and carries no information: it is always 0." in prepared.warnings


# Lengths -----------------------------------------------------------------------------------------------------------

LENGTHS = (6, 12)
EXPERIMENT = Experiment(
    data=SeriesData(source=MadeUp(), lengths=LENGTHS, split=Split(test=0.2, validation=0.3)),
    model=RNN(widths=(3,), cell="gru", dropout=0.2),
    loss=CrossEntropy(),
    epochs=2,
    batch_size=8,
    evaluation=Evaluation(resamples=100),
)


def test_every_epoch_has_batches_of_one_group_and_each_example_once() -> None:
    groups = np.asarray([0, 1, 1, 0, 2, 1, 1, 1, 0, 1])
    seen = []
    for epoch in range(3):
        index, mask = grouped_epoch(7, epoch, groups, 2)
        assert sorted(index[mask].tolist()) == list(range(10))
        assert all(len(set(groups[rows].tolist())) == 1 for rows in index)
        assert len(index) == 2 + 3 + 1
        seen.append(index[mask].tolist())
    assert seen[0] != seen[1] != seen[2]


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return research.run(EXPERIMENT, runs=tmp_path_factory.mktemp("resident"), execution=QUIET)


def test_cutting_batches_changes_rounding_alone(resident: Result, tmp_path: Any) -> None:
    """The same batches, computed at the length that fits and at full length."""

    class Whole(SeriesData):
        def cut(self, batch: Any, length: int) -> Any:
            return batch

        def traced(self) -> Any:
            return Whole(
                **{name: getattr(super(Whole, self).traced(), name) for name in ("source", "lengths", "statistics")}
            )

    whole = Whole(source=MadeUp(), lengths=LENGTHS, split=Split(test=0.2, validation=0.3))
    cut, uncut = read_metrics(resident.directory / "metrics.jsonl"), log_of(EXPERIMENT.replace(data=whole), tmp_path)
    assert len(cut) > 1
    for ours, theirs in zip(cut, uncut, strict=True):
        for name in ("train/loss", "validation/loss"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5)


def test_both_feeds_give_the_same_bits(resident: Result, tmp_path: Any) -> None:
    streaming = research.run(EXPERIMENT, runs=tmp_path, execution=QUIET.replace(feed="streaming"))
    logs = [read_metrics(result.directory / "metrics.jsonl") for result in (resident, streaming)]
    assert logs[0] == logs[1]
    np.testing.assert_array_equal(*(result.predictions["test"].prediction for result in (resident, streaming)))


def test_several_lengths_are_forms_of_the_same_programs(compiles: Any, monkeypatch: Any) -> None:
    """As many programs as with one length, each with one form for every length; none for more epochs and numbers."""
    forms: list[int] = []
    cut = SeriesData.cut
    monkeypatch.setattr(SeriesData, "cut", lambda self, rows, length: forms.append(length) or cut(self, rows, length))

    def compiled(lengths: tuple[int, ...], rate: float = 0.1, epochs: int = 2) -> int:
        model, optimizer = RNN(widths=(2,), cell="simple"), SGD(learning_rate=rate)
        data = SeriesData(source=MadeUp(), split=Split(test=0.2, validation=None), lengths=lengths)
        setup = set_up(EXPERIMENT.replace(data=data, model=model, optimizer=optimizer, epochs=epochs), 0, QUIET)
        assert setup.feed is not None and setup.reading is not None
        carry, before = setup.program.initialise(), compiles()
        carry = setup.program.advance(carry, setup.feed.window(0), setup.reading.updates_per_epoch)
        setup.program.predict(carry.state, setup.splits["test"])
        return compiles() - before

    assert compiled(()) == 2 and not forms
    assert compiled((4, 8, 12)) == 2
    assert sorted(forms) == [4, 4, 8, 8, 12, 12]
    assert compiled((4, 8, 12), rate=0.2, epochs=5) == 0


def test_padding_is_told_and_fewer_steps_are_computed() -> None:
    prepared = EXPERIMENT.data.prepare() if EXPERIMENT.data is not None else None
    assert isinstance(prepared, PreparedSeries)
    lengths = prepared.splits["train"].inputs.lengths
    steps = np.asarray(LENGTHS)[np.searchsorted(LENGTHS, lengths)].sum()
    assert prepared.padding() == pytest.approx(1 - lengths.sum() / steps)
    whole = SeriesData(source=MadeUp()).prepare()
    assert whole.padding() > prepared.padding()


def test_a_target_at_each_step_is_learnt_and_reported_by_step(tmp_path: Any) -> None:
    changes: dict[str, Any] = {"data.source": MadeUp(per_step=True), "model.readout": "each", "epochs": 8}
    result = research.run(replace(EXPERIMENT, changes), runs=tmp_path, execution=QUIET)
    predictions = result.predictions["test"]
    prepared = SeriesData(source=MadeUp(per_step=True), split=Split(test=0.2, validation=0.3)).prepare()
    lengths = prepared.splits["test"].inputs.lengths
    assert len(predictions) == lengths.sum() and predictions.step.max() == lengths.max() - 1
    assert result.metrics["auroc"].patients == len(np.unique(prepared.splits["test"].patient))
    assert result.metrics["auroc"].value > 0.8
    assert (
        predictions.read(result.directory / "predictions" / "test.parquet").step.tolist() == predictions.step.tolist()
    )
    losses = predictions.loss.sum() / predictions.weight.sum()
    assert losses == pytest.approx(result.metrics["loss"].value)


def test_gru_d_and_losses_over_the_batch_are_told_which_data_they_need() -> None:
    grud = replace(EXPERIMENT, {"model.cell": "grud", "data.impute": "mean"})
    with pytest.raises(UserError, match=r"data\.impute: GRU-D"):
        set_up(grud, 0, QUIET)
    set_up(replace(grud, {"data.source": MadeUp(even=True)}), 0, QUIET)
    with pytest.raises(UserError, match=r"data\.lengths: CoxPH compares the patients of a batch"):
        set_up(EXPERIMENT.replace(loss=CoxPH()), 0, QUIET)


def test_a_model_without_an_output_for_each_step_is_told_so(tmp_path: Any) -> None:
    with pytest.raises(UserError, match=r"RNN gives outputs of shape .* one for each step: use readout='each'"):
        research.run(replace(EXPERIMENT, {"data.source": MadeUp(per_step=True)}), runs=tmp_path, execution=QUIET)
    with pytest.raises(UserError, match=r"one for each example: use another readout than 'each'"):
        research.run(replace(EXPERIMENT, {"model.readout": "each"}), runs=tmp_path, execution=QUIET)


# Augmentation ------------------------------------------------------------------------------------------------------


def test_changes_of_a_series_do_not_depend_on_the_other_rows() -> None:
    augmentation = SeriesAugmentation(
        time_warp=0.3, amplitude=0.2, baseline=0.5, jitter=0.1, variable_dropout=0.3, time_mask=0.3
    )
    data = SeriesData(source=MadeUp(), augmentation=augmentation)
    prepared = data.prepare()
    assert isinstance(prepared.data, SeriesData)
    batch, key = jax.device_get(put(prepared.splits["train"], prepared.task)), jax.random.key(0)
    transform = jax.jit(prepared.data.transform)
    whole = transform(batch, key).inputs
    some = np.asarray([5, 1, 7])
    part = transform(jax.tree.map(lambda x: x[some], batch), key).inputs
    for name, found in part.items():
        np.testing.assert_array_equal(found, np.asarray(whole[name])[some])
    plain = transform(batch).inputs
    beyond = np.arange(12)[None, :] >= np.asarray(plain["length"])[:, None]
    assert not np.asarray(whole["values"])[beyond].any()
    assert (np.asarray(whole["values"]) != np.asarray(plain["values"])).any()


@pytest.mark.parametrize(
    ("augmentation", "unchanged"),
    [
        (SeriesAugmentation(time_warp=0.0), True),
        (SeriesAugmentation(amplitude=0.0, baseline=0.0, jitter=0.0), True),
        (SeriesAugmentation(variable_dropout=0.0, time_mask=0.0), True),
        (SeriesAugmentation(jitter=0.5), False),
    ],
)
def test_no_strength_changes_nothing(augmentation: Spec, unchanged: bool) -> None:
    plain, _ = inputs(SeriesData(source=MadeUp()))
    found, _ = inputs(SeriesData(source=MadeUp(), augmentation=augmentation), key=jax.random.key(1))
    assert np.allclose(plain["values"], found["values"], atol=1e-5) == unchanged


def test_a_crop_is_a_piece_of_the_series() -> None:
    plain, _ = inputs(SeriesData(source=MadeUp()))
    found, _ = inputs(SeriesData(source=MadeUp(), augmentation=SeriesAugmentation(crop=4)), key=jax.random.key(1))
    starts = set()
    for row, length in enumerate(plain["length"]):
        assert found["length"][row] == min(length, 4)
        places = [
            start
            for start in range(max(length - 4, 0) + 1)
            if np.array_equal(found["time"][row], plain["time"][row, start : start + 4])
        ]
        assert places
        np.testing.assert_array_equal(found["values"][row], plain["values"][row, places[0] : places[0] + 4])
        starts.add(places[0])
    assert len(starts) > 3
    with pytest.raises(UserError, match="crop: 20 samples are asked for, but the series have 12"):
        inputs(SeriesData(source=MadeUp(), augmentation=SeriesAugmentation(crop=20)), key=jax.random.key(1))


def test_masks_take_a_share_of_series_and_variables() -> None:
    masked, _ = inputs(
        SeriesData(source=MadeUp(even=True), augmentation=SeriesAugmentation(time_mask=0.5)), key=jax.random.key(1)
    )
    steps = ~masked["observed"].any(2)
    for row, length in enumerate(masked["length"]):
        taken = np.flatnonzero(steps[row, :length])
        assert len(taken) <= 0.5 * (length + 1)
        assert len(taken) == 0 or np.array_equal(taken, np.arange(taken[0], taken[-1] + 1))
    dropped, _ = inputs(
        SeriesData(source=MadeUp(rows=400, even=True), augmentation=SeriesAugmentation(variable_dropout=0.25)),
        key=jax.random.key(1),
    )
    assert (~dropped["observed"].any(1)).mean() == pytest.approx(0.25, abs=0.05)
