"""Weights of a run: where they begin, where they were left, which are reported, and what they predict."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from research.algorithms.algorithm import State
from research.data.batch import Batch
from research.data.new_rows import new_inputs
from research.data.prepare import Examples, task_of
from research.data.resident import put
from research.errors import UserError
from research.evaluation.predictions import Predictions, Rows
from research.experiment import Device, Experiment
from research.spec import from_json
from research.task import NO_LABEL
from research.training import start_from
from research.training.carry import Carry
from research.training.checkpoint import Checkpoints
from research.training.program import Outline, Program
from research.training.run_directory import RunDirectory
from research.training.setup import Setup, choose_device


def begin(setup: Setup, carry: Carry) -> Carry:
    """The carry of a run that has not started: fresh weights, or those it starts from.

    Args:
        setup: the run.
        carry: as `Program.initialise` gives it.
    """
    start = setup.experiment.start_from
    if start is not None:
        state = start_from.transfer(carry.state, start)
        best = carry.best
        if best is not None:
            deployed = setup.experiment.algorithm.deployed(setup.experiment, state)
            best = dataclasses.replace(best, state=jax.tree.map(lambda x: x.copy(), deployed))
        carry = dataclasses.replace(carry, state=state, best=best)
        carry = jax.device_put(carry, setup.device)
    return carry


def restore(setup: Setup, directory: RunDirectory) -> Carry:
    """The newest checkpoint of a run, or its beginning where there is none."""
    initial = setup.program.initialise()
    carry = restore_newest(directory, initial, setup.device)
    return begin(setup, initial) if carry is None else carry


def restore_newest(directory: RunDirectory, like: Carry, device: Any) -> Carry | None:
    """The newest checkpoint, of the structure of ``like``; None where there is none."""
    if not directory.last.is_dir():
        return None
    last = Checkpoints(directory.last, writable=False)
    step = last.latest()
    return None if step is None else last.restore(step, like, device)


def restore_finished(directory: RunDirectory, like: Carry, device: Any) -> Carry:
    """The newest checkpoint of a finished run.

    Raises:
        UserError: if there is none, or it is that of an extension which has not finished.
    """
    updates = directory.read("results")["updates"]
    carry = restore_newest(directory, like, device)
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
    rows = jax.device_get(setup.program.predict(state, setup.splits.get(split)))
    if setup.prepared is None or setup.experiment.algorithm.rows != "example":
        columns = {name: np.asarray(row, np.float64) for name, row in rows.items() if row.ndim == 1}
        return Rows(unit=setup.experiment.algorithm.rows, split=split, columns=columns)
    examples = setup.prepared.splits[split]
    found: dict[str, Any] = {name: np.asarray(rows[name]) for name in ("prediction", "loss", "weight")}
    if setup.prepared.task.per_step:
        example, step = np.nonzero(examples.targets != NO_LABEL)
        found = {name: row[example, step] for name, row in found.items()}
        found |= {"targets": examples.targets[example, step], "step": step.astype(np.int32)}
    else:
        example = np.arange(len(examples))
        found["targets"] = examples.targets
        if "quantiles" in rows and setup.experiment.loss is not None:
            found |= {"quantiles": np.asarray(rows["quantiles"]), "levels": setup.experiment.loss.levels}
    return Predictions(
        task=setup.prepared.task,
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
        # What the loss took from the training targets is needed to read the outputs, such as their mean.
        loss = from_json(data["loss"]) if data.get("loss") is not None else self.experiment.loss
        self.device = choose_device(device)
        outline = Outline(1, self.task, self.device.platform)
        blank = self._batch(self.inputs.blank)
        deployed = self.experiment.replace(data=fitted, loss=loss)
        self._program = Program(deployed, seed, 1, outline, blank, self.device)
        carry = restore_finished(directory, self._program.initialise(), self.device)
        self.state = reported(self.experiment, carry)

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Predictions for prepared inputs.

        Args:
            inputs: features as `FittedPreprocessing.transform` makes them, float32 ``[N, F]``; or pictures of the
                training's size, uint8 ``[N, H, W, C]``.

        Returns:
            Probability of the positive class ``[N]`` for a binary task; else probabilities, values or risks ``[N, K]``.

        Raises:
            UserError: for inputs of another type or shape than those of the training.
        """
        blank = self.inputs.blank
        if inputs.shape[1:] != blank.shape[1:] or inputs.dtype != blank.dtype or not len(inputs):
            shape = ", ".join(("N", *map(str, blank.shape[1:])))
            raise UserError(
                f"inputs: {blank.dtype} of shape ({shape}) with N of at least 1 is needed, as the run was trained on; "
                f"{inputs.dtype} of shape {inputs.shape} was given. Files of any kind are read by predict_file."
            )
        # Blocks of one size, the last one filled up, so that one program serves files of any length.
        size = self.experiment.evaluation.batch_size
        blocks = [inputs[first : first + size] for first in range(0, len(inputs), size)]
        padding = [(0, 0)] * (inputs.ndim - 1)
        filled = [np.pad(block, ((0, size - len(block)), *padding)) for block in blocks]
        rows = [self._program.predict(self.state, self._batch(block))["prediction"] for block in filled]
        return np.concatenate(rows)[: len(inputs)]

    def predict_file(self, data: str, out: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """Predict for new patients and write what was predicted to ``out``, a CSV file.

        Args:
            data: ``csv:FILE`` with the columns that the run was trained on, or ``pictures:FILE`` or
                ``pictures:FOLDER`` where it was trained on pictures.
            out: where to write.

        Returns:
            The table that was written (row or file, patient where known, predictions), and notes on values unlike
            those of the training data.

        Raises:
            UserError: for a missing file, missing columns or unreadable values, or ``out`` that cannot be written.
        """
        new = self.inputs.read(data)
        size = self.experiment.evaluation.batch_size
        positions = np.arange(new.count, dtype=np.int32)
        blocks = [positions[first : first + size] for first in range(0, new.count, size)]
        prediction = np.concatenate([self.predict(new.read(block)) for block in blocks])
        columns = dict(new.columns)
        if self.task.kind == "binary":
            columns[f"probability of {self.task.names[1]}"] = prediction
        else:
            word = {"regression": "predicted", "survival": "risk of"}.get(self.task.kind, "probability of")
            columns |= {f"{word} {name}": prediction[:, k] for k, name in enumerate(self.task.names)}
        table = pd.DataFrame(columns)
        try:
            table.to_csv(out, index=False)
        except OSError as error:
            raise UserError(f"{out}: cannot be written ({error.strerror}). Choose another file with --out.") from None
        return table, new.notes

    def _batch(self, inputs: np.ndarray) -> Batch:
        """Rows whose targets are not known, on the device."""
        count = len(inputs)
        columns = 2 if self.task.kind == "survival" else len(self.task.names)
        shape = (count,) if self.task.is_classes else (count, columns)
        targets = np.zeros(shape, np.int32 if self.task.is_classes else np.float32)
        rows = np.arange(count, dtype=np.int32)
        examples = Examples(inputs=inputs, targets=targets, example=rows, patient=None, patient_code=rows)
        return put(examples, self.task, self.device)
