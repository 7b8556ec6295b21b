"""Weights of a run: where they begin, where they were left, which are reported, and what they predict."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from research.algorithms.algorithm import State
from research.data.batch import Batch
from research.data.new_inputs import new_inputs
from research.data.prepare import Examples, Prepared, task_of
from research.data.resident import put
from research.errors import UserError
from research.evaluation.predictions import Predictions, Rows
from research.experiment import Device, Experiment
from research.spec import from_json
from research.task import NO_LABEL
from research.training import start_from
from research.training.carry import Carry
from research.training.checkpoint import Checkpoints
from research.training.lowerings import lowerings_of
from research.training.program import Program
from research.training.run_directory import RunDirectory
from research.training.setup import Setup, choose_device
from research.training.steps import Outline


def begin(setup: Setup, carry: Carry) -> Carry:
    """The carry of a run that has not started: fresh weights, or those it starts from.

    Args:
        setup: the run.
        carry: as `Program.initialise` gives it.
    """
    return start_from.begin(setup.experiment, carry, setup.program.places(carry))


def restore(setup: Setup, directory: RunDirectory) -> Carry:
    """The newest checkpoint of a run, or its beginning where there is none."""
    carry = restore_newest(directory, setup.program)
    return begin(setup, setup.program.initialise()) if carry is None else carry


def restore_newest(directory: RunDirectory, program: Program) -> Carry | None:
    """The newest checkpoint of a run of ``program``; None where there is none."""
    if not directory.last.is_dir():
        return None
    last = Checkpoints(directory.last, writable=False)
    step = last.latest()
    return None if step is None else last.restore(step, program.carry_like())


def restore_finished(directory: RunDirectory, program: Program) -> Carry:
    """The newest checkpoint of a finished run.

    Raises:
        UserError: if there is none, or it is that of an extension which has not finished.
    """
    updates = directory.read("results")["updates"]
    carry = restore_newest(directory, program)
    if carry is None:
        raise UserError(f"{directory.path}: the checkpoints of this run are missing; train it again with --fresh.")
    if int(carry.step) != updates:
        raise UserError(
            f"{directory.path}: this run has results after update {updates} and is being extended, now at update "
            f"{int(carry.step)}. Run its command again to finish it."
        )
    return carry


def has_best(carry: Carry) -> bool:
    """Whether weights have been chosen on validation."""
    return carry.best is not None and math.isfinite(float(carry.best.metric))


def reported(experiment: Experiment, carry: Carry) -> State:
    """The weights that the experiment reports: the best on validation, or the last."""
    if carry.best is not None and has_best(carry):
        return carry.best.state
    return experiment.algorithm.deployed(experiment, carry.state)


def predict_split(setup: Setup, state: State, split: str) -> Predictions | Rows:
    """Predictions for a split of the run's own data, each example once; rows of an algorithm without data.

    Raises:
        UserError: if there is no such split.
    """
    if setup.prepared is not None and split not in setup.splits:
        raise UserError(f"split: {split!r} is not a split of this data. Allowed: {', '.join(setup.splits)}.")
    return as_predictions(
        setup.experiment, setup.prepared, split, jax.device_get(setup.program.predict(state, setup.splits.get(split)))
    )


def as_predictions(
    experiment: Experiment, prepared: Prepared | None, split: str, rows: dict[str, Any]
) -> Predictions | Rows:
    """Rows of a whole split, on the host, with what is known of their examples."""
    if prepared is None or experiment.algorithm.rows != "example":
        columns = {name: np.asarray(row, np.float64) for name, row in rows.items() if row.ndim == 1}
        return Rows(unit=experiment.algorithm.rows, split=split, columns=columns)
    examples = prepared.splits[split]
    # Rows that only fill up the split come last.
    found: dict[str, Any] = {name: np.asarray(rows[name])[: len(examples)] for name in ("prediction", "loss", "weight")}
    if prepared.task.per_step:
        example, step = np.nonzero(examples.targets != NO_LABEL)
        found = {name: row[example, step] for name, row in found.items()}
        found |= {"targets": examples.targets[example, step], "step": step.astype(np.int32)}
    else:
        example = np.arange(len(examples))
        found["targets"] = examples.targets
        if "quantiles" in rows and experiment.loss is not None:
            found |= {"quantiles": np.asarray(rows["quantiles"])[: len(examples)], "levels": experiment.loss.levels}
    return Predictions(
        task=prepared.task,
        split=split,
        example=examples.example[example],
        patient=None if examples.patient is None else examples.patient[example],
        origins=None if examples.origins is None else examples.origins.of(example),
        **found,
    )


class TrainedModel:
    """The reported weights of a finished run, ready to predict; the data it was trained on is not needed.

    Args:
        directory: the run's directory.
        device: kind of device, as in `Execution`.

    Raises:
        UserError: if the run has not finished, or was trained without data.
    """

    def __init__(self, directory: RunDirectory, device: Device = "auto") -> None:
        self.directory = directory
        self.experiment, seed, self.name = directory.experiment()
        directory.read("results")
        data = directory.read("data")
        if self.experiment.data is None:
            raise UserError(f"{directory.path}: this run was trained without data, so there is nothing to predict for.")
        self.task = task_of(data)
        self.inputs, fitted = new_inputs(data, self.experiment.data)
        self._steps = max(fitted.cut_lengths(), default=0)
        # What the loss took from the training targets is needed to read the outputs, such as their mean.
        loss = from_json(data["loss"]) if data.get("loss") is not None else self.experiment.loss
        execution = directory.execution()
        self.device = choose_device(device, execution.deterministic)
        outline = Outline(1, self.task, self.device.platform, lowerings=lowerings_of(execution, self.device))
        blank = self._batch(self.inputs.blank)
        deployed = self.experiment.replace(data=fitted, loss=loss)
        self._program = Program(deployed, seed, 1, outline, blank, self.device)
        carry = restore_finished(directory, self._program)
        self.state = reported(self.experiment, carry)

    def predict(self, inputs: Any) -> np.ndarray:
        """Predictions for prepared inputs.

        Args:
            inputs: features as `FittedPreprocessing.transform` makes them, float32 ``[N, F]``; pictures of the
                training's size, uint8 ``[N, H, W, C]``; or of series and records a dict of arrays ``[N, ...]``, such
                as ``model.inputs.read("series:new.csv").read(positions)`` gives: values in their units, filled up to
                the longest length, as `research.data.series_inputs.SeriesInputs` says.

        Returns:
            Probability of the positive class ``[N]`` for a binary task; else probabilities, values (of quantiles the
            median) or risks ``[N, K]``. Where there is a target at each step, ``[N, T]`` or ``[N, T, K]``; what stands
            beyond the length of a row means nothing.

        Raises:
            UserError: for inputs of another type or shape than those of the training.
        """
        return self._rows(inputs)["prediction"]

    def _rows(self, inputs: Any) -> dict[str, np.ndarray]:
        """Prediction of each row, and quantiles where the loss has them."""
        self._check(inputs)
        count = len(jax.tree.leaves(inputs)[0])
        # Blocks of one size, the last one filled up by its last row, so that one program serves files of any length.
        size = self.experiment.evaluation.batch_size
        found = []
        for first in range(0, count, size):
            place = np.minimum(np.arange(first, first + size), count - 1)
            block = jax.tree.map(lambda array, place=place: array[place], inputs)
            rows = self._program.predict(self.state, self._batch(block))
            found.append({name: np.asarray(rows[name]) for name in ("prediction", "quantiles") if name in rows})
        return {name: np.concatenate([rows[name] for rows in found])[:count] for name in found[0]}

    def _check(self, inputs: Any) -> None:
        """Raise `UserError` for inputs that are not as `self.inputs.blank`."""
        blank = self.inputs.blank
        wanted = blank if isinstance(blank, dict) else {"": blank}
        given = inputs if isinstance(inputs, dict) else {"": inputs}
        fits = wanted.keys() == given.keys() and len({len(array) for array in given.values()} - {0}) == 1
        if not fits or any(
            array.shape[1:] != given[name].shape[1:] or array.dtype != given[name].dtype
            for name, array in wanted.items()
        ):
            raise UserError(
                f"inputs: {_shapes(wanted)} with N of at least 1 is needed, as the run was trained on; "
                f"{_shapes(given, known=True)} was given. Files of any kind are read by predict_file."
            )

    def predict_file(self, data: str, out: Path, beside: str | None = None) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """Predict for new patients and write what was predicted to ``out``, a CSV file.

        Args:
            data: ``csv:FILE`` with the columns that the run was trained on; ``pictures:FILE`` or ``pictures:FOLDER``;
                ``series:FILE`` or, of WFDB records, ``series:FOLDER``; ``records:FILE`` or ``records:FOLDER`` in MEDS.
            out: where to write.
            beside: a further table: of series a row for each with its static columns; of records the times up to which
                patients are known (``subject_id``, ``prediction_time``).

        Returns:
            The table that was written, and notes on values unlike those of the training data. A row has what
            identifies it (row, file, patient, series, record; of a forecast the time of the last reading; where there
            is a target at each step its number from 0 and its time), then the predictions.

        Raises:
            UserError: for a missing file, missing columns or unreadable values, or ``out`` that cannot be written.
        """
        new = self.inputs.read(data, beside)
        size = self.experiment.evaluation.batch_size
        positions = np.arange(new.count, dtype=np.int32)
        blocks = [self._rows(new.read(positions[first : first + size])) for first in range(0, new.count, size)]
        rows = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
        columns = dict(new.columns)
        if new.steps is not None:
            columns = {name: column[new.steps.row] for name, column in columns.items()} | new.steps.columns
            rows = {name: found[new.steps.row, new.steps.place] for name, found in rows.items()}
        table = pd.DataFrame(columns | self._named(rows))
        try:
            table.to_csv(out, index=False)
        except OSError as error:
            raise UserError(f"{out}: cannot be written ({error.strerror}). Choose another file with --out.") from None
        return table, new.notes

    def _named(self, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Columns of predictions, by what they mean."""
        prediction = rows["prediction"]
        if self.task.kind == "binary":
            return {f"probability of {self.task.names[1]}": prediction}
        word = {"regression": "predicted", "survival": "risk of"}.get(self.task.kind, "probability of")
        found = {f"{word} {name}": prediction[:, k] for k, name in enumerate(self.task.names)}
        if "quantiles" in rows and self.experiment.loss is not None:
            for place, level in enumerate(self.experiment.loss.levels):
                found |= {
                    f"quantile {level:g} of {n}": rows["quantiles"][:, k, place] for k, n in enumerate(self.task.names)
                }
        return found

    def _batch(self, inputs: Any) -> Batch:
        """Rows whose targets are not known, on the device."""
        count = len(jax.tree.leaves(inputs)[0])
        rows = np.arange(count, dtype=np.int32)
        examples = Examples(
            inputs=inputs,
            targets=self.task.unknown(count, self._steps),
            example=rows,
            patient=None,
            patient_code=rows,
        )
        return put(examples, self.task, self.device)


def _shapes(arrays: dict[str, np.ndarray], known: bool = False) -> str:
    """Types and shapes in words; N for the first axis where it is not known."""
    found = []
    for name, array in arrays.items():
        shape = ", ".join((str(len(array)) if known else "N", *map(str, array.shape[1:])))
        found.append(f"{name} {array.dtype} of shape ({shape})".strip())
    return "; ".join(found)
