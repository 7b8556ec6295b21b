"""Made-up series for tests: irregular, with gaps, of different lengths, several to a patient."""

from __future__ import annotations

from typing import Any

import numpy as np

from research.data import Series, Source, Variable
from research.data.about import About
from research.task import NO_LABEL, Task

ABOUT = About("made up", "series for tests")


class MadeUp(Source):
    """Waves whose height tells the class."""

    rows: int = 60
    longest: int = 12
    static: bool = False
    per_step: bool = False
    even: bool = False

    def about(self) -> About:
        return ABOUT

    def load(self) -> Series:
        random = np.random.default_rng(0)
        lengths = random.integers(2, self.longest + 1, self.rows).astype(np.int32)
        lengths[:2] = self.longest
        targets = (np.arange(self.rows) // 2 % 2).astype(np.int32)
        samples = int(lengths.sum())
        values = random.normal(size=(samples, 2)).astype(np.float32)
        values += np.repeat(2.0 * targets, lengths).astype(np.float32)[:, None]
        time = None
        if not self.even:
            values[random.random(values.shape) < 0.3] = np.nan
            time = np.concatenate([np.sort(random.random(n)).astype(np.float32) * 48 for n in lengths])
        task = Task("binary", ("low", "high"), per_step=self.per_step)
        if self.per_step:
            steps = np.arange(self.longest)[None, :] < lengths[:, None]
            targets = np.where(steps, targets[:, None], NO_LABEL).astype(np.int32)
        static: Any = random.normal(size=(self.rows, 1)).astype(np.float32) if self.static else None
        return Series(
            values=values,
            lengths=lengths,
            variables=(Variable("heart rate", "1/min"), Variable("pressure", "mmHg")),
            time=time,
            interval=0.5,
            time_unit="hours",
            static=static,
            static_variables=(Variable("age", "years"),) if self.static else (),
            targets=targets,
            task=task,
            patient=np.arange(self.rows) // 2,
            split=None,
            row=np.arange(self.rows, dtype=np.int32),
            about=ABOUT,
        )
