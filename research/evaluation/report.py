"""From stored predictions to a report: every metric over the whole split, with n and a 95 % interval."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from research import metrics
from research.errors import UserError
from research.evaluation import intervals
from research.evaluation.aami import aami
from research.evaluation.estimate import Estimate
from research.evaluation.intervals import Interval
from research.evaluation.measures import Measured
from research.evaluation.predictions import Predictions, Rows
from research.evaluation.thresholds import choose_own_thresholds, choose_thresholds

FEW_UNITS = 20
FEW_CASES = 5
FEW_FOR_A_THRESHOLD = 20
MOST_HORIZONS = 4
"""Of more horizons than these a note names the first and the last."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What one evaluation found; a value that goes to JSON and back unchanged.

    Attributes:
        title: what was evaluated, such as ``test``.
        unit: what a row is: ``example``, or the unit of `Rows`.
        estimates: metrics over everything; for several classes or labels the macro mean of each.
        parts: estimates of each class, label or quantity, by name; and of each group of classes that a recommendation
            judges, by its name and that of the recommendation.
        classes: names of the classes in the order of the confusion matrix.
        confusion: counts, true class by row and predicted class by column; None where examples have no single class.
        thresholds: probability from which the positive class or a label is called, by name.
        threshold_choice: how the thresholds were chosen.
        own_thresholds: thresholds of metrics that have one of their own, by metric: the best on validation.
        notes: what a reader must know to read the numbers.
        warnings: reasons to distrust them.
    """

    title: str
    unit: str
    estimates: tuple[Estimate, ...]
    parts: Mapping[str, tuple[Estimate, ...]] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] | None = None
    thresholds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    threshold_choice: str = ""
    own_thresholds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Estimate:
        """The estimate of a metric over everything; raises `UserError` naming those there are."""
        for estimate in self.estimates:
            if estimate.name == name:
                return estimate
        known = ", ".join(estimate.name for estimate in self.estimates)
        raise UserError(f"this report has no metric {name!r}. It has: {known}.")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; numbers that are not defined become null."""
        return _without_nan(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, source: Mapping[str, Any] | str) -> Report:
        """The report that `to_json` wrote; raises `UserError` if it is not one."""
        try:
            data: Any = json.loads(source) if isinstance(source, str) else source
            matrix = data["confusion"]
            return cls(
                title=data["title"],
                unit=data["unit"],
                estimates=tuple(_estimate(item) for item in data["estimates"]),
                parts={name: tuple(_estimate(item) for item in items) for name, items in data["parts"].items()},
                classes=tuple(data["classes"]),
                confusion=None if matrix is None else tuple(tuple(row) for row in matrix),
                thresholds=dict(data["thresholds"]),
                threshold_choice=data["threshold_choice"],
                own_thresholds=dict(data.get("own_thresholds", {})),
                notes=tuple(data["notes"]),
                warnings=tuple(data["warnings"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"this is not a report of an evaluation ({error!r}); run the evaluation again.") from None

    def tables(self) -> list[Any]:
        """Tables for the terminal, readable at 80 columns, as `research.evaluation.tables` draws them."""
        from research.evaluation.tables import tables

        return tables(self)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _estimate(data: Mapping[str, Any]) -> Estimate:
    numbers = {key: math.nan if data[key] is None else data[key] for key in ("value", "low", "high")}
    return Estimate(**{**data, **numbers})


# Evaluation --------------------------------------------------------------------------------------------------------


def evaluate(
    predictions: Predictions | Rows, validation: Predictions | None = None, resamples: int = 1000, seed: int = 0
) -> Report:
    """Every metric of the task with its interval; the unit is that of `Predictions.unit_name`.

    Args:
        predictions: what to evaluate, with targets.
        validation: predictions by the same model for the validation split, on which thresholds are chosen; never the
            split that is evaluated.
        resamples: bootstrap resamples.
        seed: which resamples; the same seed gives the same report.

    Raises:
        UserError: if there are no rows or no targets, or the validation predictions are of another task.
    """
    if not len(predictions):
        raise UserError(f"the predictions for {predictions.split!r} have no rows; there is nothing to evaluate.")
    if resamples < 1:
        raise UserError(f"resamples: 1 or more is needed, {resamples} was given; 1000 is usual.")
    if isinstance(predictions, Rows):
        return _evaluate_rows(predictions, resamples, seed)
    if predictions.targets is None:
        raise UserError(
            f"the predictions for {predictions.split!r} have no targets, so there is nothing to compare them with; "
            f"give data with a target column."
        )
    if validation is not None and validation.task != predictions.task:
        raise UserError("the validation predictions are of another task; give those of the same run.")
    thresholds, choice = choose_thresholds(predictions, validation)
    own_thresholds = choose_own_thresholds(predictions, validation)
    measured = Measured(predictions, thresholds, own_thresholds)
    point = measured(np.ones(len(predictions)))
    closed = {key: measured.closed_interval(*key, float(value)) for key, value in point.items()}
    open_keys = {key for key, found in closed.items() if found is None}
    spread = bootstrap(lambda weights: measured(weights, open_keys), measured.unit, resamples, seed)

    def estimate(part: str, name: str) -> Estimate:
        value = float(point[part, name])
        found = closed[part, name]
        if found is None:
            found = intervals.percentile_interval(spread[part, name], measured.unit_name)
        if math.isnan(value):
            found = Interval(math.nan, math.nan, "none: not defined")
        rows = measured.rows(part, name)
        patients = None if predictions.patient is None else len(np.unique(measured.unit[rows]))
        return Estimate(name, value, found.low, found.high, int(rows.sum()), patients, found.method)

    decided = measured.decided if predictions.task.is_classes else None
    parts = {part: tuple(estimate(p, name) for p, name in point if p == part) for part in measured.parts}
    if "aami" in predictions.task.scorers:
        parts |= {f"{group}, AAMI": found for group, found in aami(predictions).items()}
    return Report(
        title=predictions.split,
        unit="example",
        estimates=tuple(estimate(part, name) for part, name in point if not part),
        parts=parts,
        classes=predictions.task.names if decided is not None else (),
        confusion=None if decided is None else _confusion(measured),
        thresholds=thresholds,
        threshold_choice=choice,
        own_thresholds=own_thresholds,
        notes=(*_notes(predictions, measured, resamples), *_threshold_notes(validation, thresholds)),
        warnings=_warnings(predictions, measured, thresholds, validation),
    )


def bootstrap(measure: Any, unit: np.ndarray, resamples: int, seed: int) -> dict[Any, np.ndarray]:
    """Every metric of ``measure(weights)`` in every resample of the units, ``[R]``."""
    chunks = [measure(weights) for weights in intervals.bootstrap_weights(unit, resamples, seed)]
    return {key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]}


def _evaluate_rows(rows: Rows, resamples: int, seed: int) -> Report:
    """The mean of each column with its interval; rows are independent."""
    estimates = []
    for name, column in rows.columns.items():
        values = column[~np.isnan(column)].astype(np.float64)
        found = Interval(math.nan, math.nan, "none: no values")
        if len(values):
            spread = bootstrap(lambda w, v=values: {"": metrics.mean(v, w)}, np.arange(len(values)), resamples, seed)
            found = intervals.percentile_interval(spread[""], rows.unit)
        value = float(values.mean()) if len(values) else math.nan
        estimates.append(Estimate(name, value, found.low, found.high, len(values), None, found.method))
    few = (f"only {len(rows)} rows: intervals are too narrow.",) if len(rows) < FEW_UNITS else ()
    return Report(title=rows.split, unit=rows.unit, estimates=tuple(estimates), warnings=few)


def _confusion(measured: Measured) -> tuple[tuple[int, ...], ...]:
    counts = metrics.confusion_matrix(measured.decided, measured.targets, len(measured.parts))
    return tuple(tuple(int(count) for count in row) for row in counts)


def _notes(predictions: Predictions, measured: Measured, resamples: int) -> tuple[str, ...]:
    task, notes = predictions.task, []
    units = len(np.unique(measured.unit))
    known = f"{units} patients" if predictions.patient is not None else "no patient identifiers"
    counted = f"{units} series, " if measured.unit_name == "series" else ""
    notes.append(f"intervals by {measured.unit_name}, {counted}{known}")
    notes.append(f"95 % intervals; bootstrap with {resamples} resamples")
    if task.kind == "binary":
        notes.append("Brier score: mean (p - y)^2, 0 to 1")
    if task.kind == "multiclass":
        notes.append("AUROC one class against the rest, macro mean; Brier score: sum over classes, 0 to 2")
    if task.kind == "multilabel":
        notes.append("means over labels, each over the examples where it is known")
        notes.append(
            "F-max: F1 at the threshold that is best on these very rows; by example, with one threshold for all labels "
            "(CAFA, PTB-XL benchmark), or by label, a mean"
        )
    if task.kind == "regression" and predictions.quantiles is not None:
        low, high = predictions.levels[0], predictions.levels[-1]
        notes.append(
            f"coverage: share of true values within the predicted quantiles {low:g} to {high:g}, which should be "
            f"{high - low:.3g}"
        )
    if "aami" in task.scorers:
        notes.append("AAMI: F and Q called V, and Q called S, are left out of precision and false positive rate")
    if "sepsis_utility" in task.scorers:
        notes.append("utility of the Challenge 2019: 1 for the best possible warnings, 0 for none, negative for harm")
    if predictions.origins is not None:
        notes.append(_persistence(predictions, measured))
    if task.kind == "survival":
        time, event = np.asarray(predictions.targets, np.float64).T
        notes.append(
            f"{task.names[0]} in {int(event.sum())} of {len(event)} examples, the others censored; "
            f"followed for {np.median(time):.4g}{' ' * bool(task.unit)}{task.unit} in the median"
        )
        notes.append("concordance: of two patients, who has the event first is at higher risk (Harrell)")
    if task.unit and task.kind == "regression":
        notes.append(f"predicted quantities in {task.unit}")
    return tuple(notes)


def _persistence(predictions: Predictions, measured: Measured) -> str:
    """What the skill is, and the errors of what it is held against; of many horizons at the first and the last."""
    now: Any = measured.persistence
    names = predictions.task.names
    shown = range(len(names)) if len(names) <= MOST_HORIZONS else (0, len(names) - 1)
    errors = []
    for name, metric in (("RMSE", metrics.root_mean_squared_error), ("MAE", metrics.mean_absolute_error)):
        each = [f"{metric(now[:, i], measured.targets[:, i]):.4g} ({names[i]})" for i in shown]
        errors.append(f"{name} {', '.join(each)}")
    return f"skill: 1 - MSE / MSE of persistence, which forecasts the same as now; its {'; '.join(errors)}"


def _threshold_notes(validation: Predictions | None, thresholds: Mapping[str, float]) -> tuple[str, ...]:
    if not thresholds or validation is None:
        return ()
    counts = [f"{cases} cases of {name} among {known}" for name, (cases, known) in _chosen_on(validation).items()]
    return (f"threshold chosen on {'; '.join(counts)} {validation.split} rows; the intervals take it as given",)


def _chosen_on(validation: Predictions) -> dict[str, tuple[int, int]]:
    """Cases and rows that a threshold was chosen on, by label; for two classes those of the positive one."""
    targets: Any = validation.targets
    if validation.task.kind == "binary":
        return {validation.task.names[1]: (int((targets == 1).sum()), len(targets))}
    columns = zip(validation.task.names, targets.T, strict=True)
    return {name: (int((column == 1).sum()), int((~np.isnan(column)).sum())) for name, column in columns}


def _warnings(
    predictions: Predictions, measured: Measured, thresholds: Mapping[str, float], validation: Predictions | None
) -> tuple[str, ...]:
    warnings = []
    units = len(np.unique(measured.unit))
    if units < FEW_UNITS:
        what = {"row": "rows", "patient": "patients"}.get(measured.unit_name, measured.unit_name)
        warnings.append(f"only {units} {what}: intervals are too narrow, those of the bootstrap most of all.")
    if predictions.task.kind == "survival":
        events = int(np.asarray(predictions.targets)[:, 1].sum())
        if events < FEW_UNITS:
            warnings.append(f"only {events} events: the concordance means little.")
    elif predictions.task.kind != "regression":
        for index, name in enumerate(measured.parts):
            cases = int((measured.true & measured.observed)[:, index].sum())
            if cases == 0:
                warnings.append(f"{name}: no cases; it is left out of the means.")
            elif cases < FEW_CASES:
                warnings.append(f"{name}: only {cases} cases; its numbers mean little.")
    if thresholds and validation is not None:
        for name, (cases, known) in _chosen_on(validation).items():
            if min(cases, known - cases) < FEW_FOR_A_THRESHOLD:
                warnings.append(
                    f"{name}: the threshold was chosen on few {validation.split} rows ({cases} cases, {known - cases} "
                    f"others); sensitivity and specificity would move with another choice."
                )
        if validation.split == predictions.split:
            warnings.append("the threshold was chosen on these very rows: decisions at it look better than they are.")
    if thresholds and validation is None:
        warnings.append("thresholds were not chosen on validation: 0.5 is used.")
    return tuple(warnings)
