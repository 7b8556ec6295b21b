"""This framework's experiment for each workload, on random numbers made in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

import research.models
from research.data import About, Augmentation, ImageData, SeriesData, Source, TableData
from research.data.images import Images
from research.data.series import Series, Variable
from research.data.table import Column, Table
from research.experiment import Evaluation, Experiment
from research.losses import CrossEntropy
from research.optimizers import AdamW
from research.spec import field
from research.task import Task
from speed_suite.workloads import ROTATION, TRANSLATION, UPDATES_PER_EPOCH, Workload


class MadeRows(Source):
    """Random inputs and classes, already divided: they stand for data in memory and mean nothing."""

    shape: tuple[int, ...] = field((1,), minimum=1, help="of the inputs of a row")
    classes: int = field(2, minimum=2, help="number of classes")
    rows: tuple[int, ...] = field((64, 32, 32), minimum=1, help="in train, validation and test")
    seed: int = field(0, minimum=0, help="number of the sample")

    def about(self) -> About:
        """See `Source.about`."""
        return About("made_rows", "random numbers and classes, for measurements of speed")

    def load(self) -> Any:
        """See `Source.load`: a table, series or pictures, by the number of axes."""
        draw, count = np.random.default_rng(self.seed), sum(self.rows)
        targets = draw.integers(0, self.classes, count, dtype=np.int32)
        names = tuple(f"class {number}" for number in range(self.classes))
        common: dict[str, Any] = {
            "targets": targets,
            "task": Task("binary" if self.classes == 2 else "multiclass", names),
            "patient": np.arange(count).astype(str).astype(object),
            "split": np.repeat(["train", "validation", "test"], self.rows),
            "row": np.arange(count, dtype=np.int32),
            "about": self.about(),
        }
        if len(self.shape) == 3:
            pictures = draw.integers(0, 256, (count, *self.shape), dtype=np.uint8)
            return Images(shape=self.shape, read=pictures.__getitem__, signature=f"{self}", **common)
        values = draw.standard_normal((count, *self.shape)).astype(np.float32)
        if len(self.shape) == 2:
            lengths = np.full(count, self.shape[0], np.int32)
            variables = tuple(Variable(f"lead {number}") for number in range(self.shape[1]))
            return Series(values=values.reshape(-1, self.shape[1]), lengths=lengths, variables=variables, **common)
        frame = pd.DataFrame(values, columns=[f"feature {number}" for number in range(self.shape[0])])
        return Table(frame=frame, columns=tuple(Column(str(name), "numeric") for name in frame), **common)


def experiment_of(workload: Workload, batches: int = UPDATES_PER_EPOCH, batch: int | None = None) -> Experiment:
    """The experiment: ``batches`` of ``batch`` rows in train, one batch in validation."""
    batch = batch or workload.batch
    source = MadeRows(shape=workload.shape, classes=workload.classes, rows=(batches * batch, batch, batch))
    data: Any = {"table": TableData, "series": SeriesData, "image": ImageData}[workload.kind](source=source)
    if workload.augmented:
        moved = Augmentation(rotation=ROTATION, translation=TRANSLATION, horizontal_flip=True)
        data = data.replace(augmentation=moved)
    fields: dict[str, Any] = dict(workload.options)
    if workload.family != "ResNet":
        fields["dropout"] = workload.dropout
    if workload.family in ("SeriesTransformer", "ViT"):
        fields["attention_dropout"] = workload.dropout
    return Experiment(
        data=data,
        model=getattr(research.models, workload.family)(**fields),
        loss=CrossEntropy(),
        optimizer=AdamW(learning_rate=workload.learning_rate),
        steps=1_000_000_000,
        batch_size=batch,
        evaluation=Evaluation(batch_size=batch),
    )
