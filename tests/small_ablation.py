"""A small ablation, and what must be equal to the bit wherever it was trained."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tiny import EXPERIMENT, QUIET

from research.ablation.ablation import Ablation
from research.ablation.extract import member_records
from research.ablation.result import AblationResult
from research.ablation.tables import analysis_of, written
from research.optimizers import AdamW
from research.spec import replace
from research.training.metrics_log import read_metrics
from research.training.tripwire import VARIABLE

OPTIONS: dict[str, Any] = {
    "name": "experiment",
    "execution": QUIET.replace(checkpoint_every=20),
    "strategy": "map",
}
CHANGES = {"steps": 40, "model.widths": (), "model.dropout": None, "evaluation.select": None}
LINEAR = replace(EXPERIMENT, CHANGES).replace(optimizer=AdamW(learning_rate=2e-2, weight_decay=1e-2))
"""Quick to compile, for every process that trains it has to."""

VARIANTS = {"slower": {"optimizer.learning_rate": 1e-3}}


def ablation(**changes: Any) -> Ablation:
    """Four members, one group."""
    return Ablation(**({"baseline": LINEAR, "variants": VARIANTS, "seeds": 2} | changes))


def bits(result: AblationResult) -> dict[str, Any]:
    """What is left of each member, whatever wave it was in, and the table."""
    said = {split: result.predictions(split) for split in ("validation", "test")}
    found: dict[str, Any] = {"table": written(analysis_of(result), "json")}
    for outcome in result.outcomes:
        records = member_records(read_metrics(outcome.wave.curves), outcome.number)
        rows = [np.asarray(said[split][outcome.name].prediction).tobytes() for split in said]  # type: ignore[union-attr]
        found[outcome.name] = json.dumps([outcome.results, records], sort_keys=True), rows
    return found


def attempts(result: AblationResult) -> list[int]:
    """How often each wave was begun or taken up, in order."""
    waves = {outcome.wave.path: outcome.wave for outcome in result.outcomes}
    return sorted(len(wave.attempted()) for wave in waves.values())


@contextmanager
def struck(number: signal.Signals, folder: Path, monkeypatch: Any) -> Iterator[None]:
    """The first worker that comes to update 30, between two checkpoints, gets a signal."""
    file = folder / "tripwire"
    monkeypatch.setenv(VARIABLE, f"update:30:{file}")
    ended = threading.Event()

    def strike() -> None:
        while not ended.is_set():
            if file.exists() and (text := file.read_text()):
                os.kill(int(text.split()[0]), number)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        yield
        assert file.exists(), "no worker came to the moment"
    finally:
        ended.set()
        thread.join()
        monkeypatch.delenv(VARIABLE)


__all__ = ["LINEAR", "OPTIONS", "VARIANTS", "ablation", "attempts", "bits", "struck"]
