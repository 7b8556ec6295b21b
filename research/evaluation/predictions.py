"""What an evaluation leaves behind: one row per example (or episode, or sample) in a Parquet file."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from research.errors import RunError, UserError
from research.evaluation.intervals import unit_numbers
from research.origins import Origins
from research.task import Task

_FORMAT = b"research"


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions for the examples of one split, each example once.

    The constructor brings arrays into the form below and refuses what cannot be evaluated.

    Attributes:
        task: what is predicted.
        split: name of the split, or any name for new patients.
        example: index of each row in its split, ``[N]``, without repetitions.
        prediction: for ``binary`` the probability of the positive class, ``[N]`` (``[N, 1]`` and ``[N, 2]`` are
            accepted); class probabilities ``[N, C]``; label probabilities ``[N, L]``; predicted quantities ``[N, L]``;
            for ``survival`` a risk, larger where the event is expected earlier, ``[N, 1]``.
        targets: as `research.task.Task` says, or None where they are not known.
        patient: patient identifiers as text, ``[N]``, or None where the data has none.
        loss: loss of each example times its weight, ``[N]``, or None.
        weight: weight of each example in the loss, ``[N]``, or None where all count alike.
        step: where the task has a target at each step: the step of each row, ``[N]``; an example then has several.
        quantiles: predicted quantiles of each quantity, ascending, ``[N, L, Q]``, or None where none are predicted.
        levels: which quantiles, each between 0 and 1.
        origins: where the forecasts of each row begin; None where the predictions are no forecasts.
    """

    task: Task
    split: str
    example: np.ndarray
    prediction: np.ndarray
    targets: np.ndarray | None = None
    patient: np.ndarray | None = None
    loss: np.ndarray | None = None
    weight: np.ndarray | None = None
    step: np.ndarray | None = None
    quantiles: np.ndarray | None = None
    levels: tuple[float, ...] = ()
    origins: Origins | None = None

    def __post_init__(self) -> None:
        count = len(self.example)
        values: dict[str, Any] = {
            "example": np.asarray(self.example),
            "prediction": _predicted(self.task, np.asarray(self.prediction), count),
        }
        if self.targets is not None:
            values["targets"] = _true(self.task, np.asarray(self.targets), count)
        if self.patient is not None:
            values["patient"] = _identifiers(self.patient, count)
        for name in ("loss", "weight", "step"):
            if (column := getattr(self, name)) is not None:
                values[name] = np.asarray(column)
                if values[name].shape != (count,):
                    raise UserError(
                        f"{name}: {count} values are needed, one an example; {values[name].shape} was given."
                    )
        if self.quantiles is not None:
            values["quantiles"] = _quantiles(self.task, np.asarray(self.quantiles), self.levels, count)
        if self.origins is not None and len(self.origins) != count:
            raise UserError(f"origins: {count} are needed, one an example; {len(self.origins)} were given.")
        if self.origins is not None and len(self.task.horizons) != len(self.task.names):
            raise UserError(
                f"origins: forecasts need a horizon for each quantity; the task has {len(self.task.horizons)} for "
                f"{', '.join(self.task.names)}."
            )
        places = [values[name] for name in ("example", "step") if name in values]
        if len(np.unique(np.stack(places, axis=1), axis=0)) != count:
            what = "step of an example" if self.task.per_step else "example"
            raise UserError(f"example: some rows stand for the same {what}; each {what} must be predicted once.")
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.example)

    @property
    def unit_name(self) -> str:
        """What is sampled: the patient where it is known; else the series, of rows that are steps of it; else the row.

        Forecasts of one series are made from windows of it that overlap.
        """
        if self.patient is not None:
            return "patient"
        return "row" if self.step is None and self.origins is None else "series"

    @property
    def unit(self) -> Int[np.ndarray, " N"]:
        """Number of the sampling unit of each row, from 0."""
        owner = self.patient
        if owner is None and self.origins is not None:
            owner = self.origins.series
        if owner is None and self.step is not None:
            owner = self.example
        return unit_numbers(owner, len(self))

    def write(self, path: str | Path) -> None:
        """Write Parquet, all or nothing; equal predictions give equal bytes.

        Columns: ``example``, ``step``, ``patient``, ``target`` or ``target_<name>``, ``probability`` (binary),
        ``probability_<class or label>``, ``prediction_<quantity>`` or ``risk_<event>``,
        ``quantile_<level>_<quantity>``, ``loss``, ``weight``; task, split and levels are in the metadata. Of survival
        the targets are ``target_time`` and ``target_event``. Forecasts have ``series``, ``time`` and ``now`` besides:
        the series, when the forecast was made, and what the value was then.

        Raises:
            RunError: if the file cannot be written.
        """
        _write(Path(path), self._columns(), self._about())

    def _about(self) -> dict[str, Any]:
        about: dict[str, Any] = {"content": "predictions", "split": self.split, "task": dataclasses.asdict(self.task)}
        return about | ({"levels": list(self.levels)} if self.levels else {})

    def _columns(self) -> dict[str, np.ndarray]:
        columns: dict[str, np.ndarray] = {"example": self.example}
        if self.step is not None:
            columns["step"] = self.step
        if self.patient is not None:
            columns["patient"] = self.patient
        if self.origins is not None:
            columns |= {"series": self.origins.series, "time": self.origins.time, "now": self.origins.value}
        if self.targets is not None:
            columns |= _split_columns("target", self.targets, self.task)
        columns |= _split_columns(_stem(self.task), self.prediction, self.task)
        if self.quantiles is not None:
            for place, level in enumerate(self.levels):
                columns |= _split_columns(f"quantile_{level!r}", self.quantiles[..., place], self.task)
        return columns | {n: v for n, v in (("loss", self.loss), ("weight", self.weight)) if v is not None}

    @classmethod
    def read(cls, path: str | Path) -> Predictions:
        """Read what `write` wrote.

        Raises:
            UserError: naming the file, if it is missing, damaged or something else.
        """
        columns, about = _read(Path(path), "predictions")
        return cls._of(columns, about, path)

    @classmethod
    def _of(cls, columns: dict[str, np.ndarray], about: dict[str, Any], path: str | Path) -> Predictions:
        try:
            task = Task.from_json(about["task"])
            known = any(name.startswith("target") for name in columns)
            levels = tuple(about.get("levels", ()))
            quantiles = [_join_columns(f"quantile_{level!r}", columns, task) for level in levels]
            return cls(
                task=task,
                split=about["split"],
                example=columns["example"],
                prediction=_join_columns(_stem(task), columns, task),
                targets=_join_columns("target", columns, task) if known else None,
                patient=columns.get("patient"),
                loss=columns.get("loss"),
                weight=columns.get("weight"),
                step=columns.get("step"),
                quantiles=np.stack(quantiles, axis=-1) if quantiles else None,
                levels=levels,
                origins=Origins(columns["series"], columns["time"], columns["now"]) if "now" in columns else None,
            )
        except KeyError as missing:
            raise UserError(
                f"{path} lacks {missing}; it was written by other code. Run the evaluation again."
            ) from None


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Numbers per episode, generated sample or whatever else an algorithm is judged by; rows are independent.

    Attributes:
        unit: what a row is, such as ``episode`` or ``sample``.
        split: name of the split or setting they come from.
        columns: named numbers, each ``[N]``; NaN where a row has none.
    """

    unit: str
    split: str
    columns: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        columns = {name: np.asarray(values) for name, values in self.columns.items()}
        shapes = {name: values.shape for name, values in columns.items()}
        if not columns or len(set(shapes.values())) != 1 or any(len(shape) != 1 for shape in shapes.values()):
            raise UserError(f"columns: one or more columns of equal length are needed; shapes given: {shapes}.")
        object.__setattr__(self, "columns", columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def write(self, path: str | Path) -> None:
        """Write Parquet, all or nothing; raises `RunError` if that fails."""
        _write(Path(path), self._columns(), self._about())

    def _about(self) -> dict[str, Any]:
        return {"content": "rows", "split": self.split, "unit": self.unit}

    def _columns(self) -> dict[str, np.ndarray]:
        return dict(self.columns)

    @classmethod
    def read(cls, path: str | Path) -> Rows:
        """Read what `write` wrote; raises `UserError` naming the file if it is missing, damaged or something else."""
        columns, about = _read(Path(path), "rows")
        return cls(unit=about["unit"], split=about["split"], columns=columns)


def read_predictions(path: str | Path) -> Predictions | Rows:
    """Read a file of either sort; raises `UserError` as `Predictions.read` does."""
    _, about = _read(Path(path), None)
    return Rows.read(path) if about["content"] == "rows" else Predictions.read(path)


def write_members(path: str | Path, members: Mapping[int, Predictions | Rows]) -> None:
    """Write what several models say in one Parquet file, with a column ``member``; all of one split and sort.

    Raises:
        RunError: if the file cannot be written.
    """
    first = next(iter(members.values()))
    each = [rows._columns() for rows in members.values()]
    columns = {name: np.concatenate([part[name] for part in each]) for name in each[0]}
    number = np.repeat(np.asarray(list(members), np.int32), [len(rows) for rows in members.values()])
    about = first._about()
    _write(Path(path), {"member": number} | columns, about | {"content": f"{about['content']} of members"})


def read_members(path: str | Path) -> dict[int, Predictions | Rows]:
    """What `write_members` wrote; raises `UserError` as `Predictions.read` does."""
    columns, about = _read(Path(path), None)
    content, _, of_members = about["content"].partition(" of members")
    number = columns.pop("member", None)
    if number is None or of_members:
        raise UserError(f"{path} holds {about['content']}; predictions of members are needed.")
    found: dict[int, Predictions | Rows] = {}
    for member in np.unique(number):
        own = {name: column[number == member] for name, column in columns.items()}
        if content == "rows":
            found[int(member)] = Rows(unit=about["unit"], split=about["split"], columns=own)
        else:
            found[int(member)] = Predictions._of(own, about, path)
    return found


# Checks ------------------------------------------------------------------------------------------------------------


def _predicted(task: Task, prediction: np.ndarray, count: int) -> np.ndarray:
    """Predictions as floats in the shape of the task, free of NaN and, where they are probabilities, in [0, 1]."""
    if prediction.dtype.name not in ("float32", "float64"):
        prediction = prediction.astype(np.float32)
    if task.kind == "binary" and prediction.ndim == 2:
        if prediction.shape[1] not in (1, 2):
            raise UserError(f"prediction: a binary task has 1 or 2 columns, {prediction.shape[1]} were given.")
        prediction = prediction[:, -1]
    if task.kind in ("regression", "survival") and prediction.ndim == 1:
        prediction = prediction[:, None]
    wanted = (count,) if task.kind == "binary" else (count, len(task.names))
    if prediction.shape != wanted:
        raise UserError(f"prediction: shape {wanted} is needed for a {task.kind} task, {prediction.shape} was given.")
    if not np.isfinite(prediction).all():
        row = int(np.flatnonzero(~np.isfinite(prediction.reshape(count, -1)).all(1))[0])
        raise UserError(f"prediction: row {row} is not finite; the model diverged or its inputs hold NaN.")
    if (
        task.kind not in ("regression", "survival")
        and count
        and (prediction.min() < -1e-6 or prediction.max() > 1 + 1e-6)
    ):
        raise UserError(
            f"prediction: probabilities between 0 and 1 are needed, values from {prediction.min():.4g} to "
            f"{prediction.max():.4g} were given; apply the loss's `predict` to the model's outputs."
        )
    return prediction


def _true(task: Task, targets: np.ndarray, count: int) -> np.ndarray:
    """Targets in the shape of the task, with classes within those declared."""
    if task.is_classes:
        if targets.shape != (count,):
            raise UserError(f"targets: shape {(count,)} is needed for a {task.kind} task, {targets.shape} was given.")
        outside = (targets < 0) | (targets >= len(task.names)) | (targets != np.floor(targets))
        if outside.any():
            raise UserError(
                f"targets: classes 0 to {len(task.names) - 1} ({', '.join(task.names)}) are declared, "
                f"{targets[outside][0]} was found in row {int(np.flatnonzero(outside)[0])}."
            )
        return targets.astype(np.int32)
    targets = targets if targets.dtype.name in ("float32", "float64") else targets.astype(np.float32)
    if task.kind == "regression" and targets.ndim == 1:
        targets = targets[:, None]
    wanted = (count, len(_target_names(task)))
    if targets.shape != wanted:
        raise UserError(f"targets: shape {wanted} is needed for a {task.kind} task, {targets.shape} was given.")
    if task.kind == "survival" and not (np.isfinite(targets).all() and (targets >= 0).all()):
        raise UserError("targets: a time to the event is negative, NaN or infinite; remove those rows.")
    if task.kind == "survival" and not np.isin(targets[:, 1], (0, 1)).all():
        raise UserError("targets: an event is 1 where it came and 0 where it did not; another value was found.")
    if task.kind == "multilabel" and not (np.isnan(targets) | (targets == 0) | (targets == 1)).all():
        raise UserError("targets: labels are 0, 1, or NaN where missing; another value was found.")
    if task.kind == "regression" and not np.isfinite(targets).all():
        raise UserError("targets: a quantity to be predicted is NaN or infinite; remove or fill those rows.")
    return targets


def _quantiles(task: Task, quantiles: np.ndarray, levels: tuple[float, ...], count: int) -> np.ndarray:
    """Quantiles of a regression task, one column a level."""
    wanted = (count, len(task.names), len(levels))
    if task.kind != "regression" or not levels or quantiles.shape != wanted:
        raise UserError(
            f"quantiles: shape {wanted} and as many levels are needed, for a regression task; {quantiles.shape} was "
            f"given for a {task.kind} task with levels {levels}."
        )
    if not np.isfinite(quantiles).all():
        raise UserError("quantiles: a value is not finite; the model diverged or its inputs hold NaN.")
    return quantiles


def _identifiers(patient: Any, count: int) -> np.ndarray:
    """Identifiers as text, so that 7 and "7" are the same patient in every file."""
    patient = np.asarray(patient)
    if patient.shape != (count,):
        raise UserError(f"patient: {count} identifiers are needed, one per example; {patient.shape} was given.")
    names = np.array([str(value) for value in patient], dtype=object)
    missing = [row for row, value in enumerate(patient) if value is None or value != value or str(value) == ""]
    if missing:
        raise UserError(
            f"patient: row {missing[0]} has no identifier ({len(missing)} in all); "
            f"give every row one, or None for the whole column."
        )
    return names


# Files -------------------------------------------------------------------------------------------------------------


def _stem(task: Task) -> str:
    return {"regression": "prediction", "survival": "risk"}.get(task.kind, "probability")


def _target_names(task: Task) -> tuple[str, ...]:
    """Names of the columns of targets that are more than one."""
    return ("time", "event") if task.kind == "survival" else task.names


def _names(stem: str, task: Task) -> tuple[str, ...]:
    return _target_names(task) if stem == "target" else task.names


def _split_columns(stem: str, values: np.ndarray, task: Task) -> dict[str, np.ndarray]:
    if values.ndim == 1:
        return {stem: values}
    return {f"{stem}_{name}": values[:, index] for index, name in enumerate(_names(stem, task))}


def _join_columns(stem: str, columns: dict[str, np.ndarray], task: Task) -> np.ndarray:
    if stem in columns:
        return columns[stem]
    return np.stack([columns[f"{stem}_{name}"] for name in _names(stem, task)], axis=-1)


def _write(path: Path, columns: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    arrays = [pa.array(v, type=pa.string()) if v.dtype == object else pa.array(v) for v in columns.values()]
    table = pa.table(arrays, names=list(columns))
    write_parquet(path, table.replace_schema_metadata({_FORMAT: json.dumps(about, sort_keys=True).encode()}))


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table so that a reader sees the old file or the whole new one; raises `RunError` if that fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            pq.write_table(table, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunError(f"{path} cannot be written: {error.strerror or error}. Free space or choose a folder.") from None


def _read(path: Path, content: str | None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    if not path.is_file():
        raise UserError(f"{path} does not exist.")
    try:
        # One file, not a data set: pyarrow must not read the folders' names as columns.
        table = pq.ParquetFile(path).read()
        about = json.loads((table.schema.metadata or {}).get(_FORMAT, b"null"))
    except (pa.ArrowException, OSError, ValueError):
        raise UserError(
            f"{path} is not a readable Parquet file; it may be truncated. Run the evaluation again."
        ) from None
    if not isinstance(about, dict) or "content" not in about:
        raise UserError(f"{path} is a Parquet file, but not of predictions: it was not written by `research`.")
    if content is not None and about["content"] != content:
        raise UserError(f"{path} holds {about['content']}, {content} are needed.")
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    return columns, about
