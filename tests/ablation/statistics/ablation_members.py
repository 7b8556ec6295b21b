"""Outcomes of small made-up ablations, for the tests of their statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from research.ablation.statistics import Outcomes
from research.evaluation import Predictions
from research.task import Task

BINARY = Task("binary", ("benign", "malignant"))


def scores(count: int, seeds: int, gain: float = 0.0, noise: float = 0.5, seed: int = 0) -> tuple[Any, Any]:
    """Logits ``[S, N]`` that share what is hard about an example, and targets ``[N]``."""
    common = np.random.default_rng(1)
    targets = (common.random(count) < 0.4).astype(np.int32)
    hard = common.normal(size=count)
    own = np.random.default_rng([seed, 2])
    effect = 0.2 * own.normal(size=(seeds, 1))
    logits = hard + (1.5 + gain + effect) * (targets - 0.4) + noise * own.normal(size=(seeds, count))
    return logits, targets


def predicted(logits: np.ndarray, targets: np.ndarray, patient: Any = None, example: Any = None) -> Predictions:
    """Test predictions of one member."""
    example = np.arange(len(targets)) if example is None else example
    return Predictions(BINARY, "test", example, 1 / (1 + np.exp(-logits)), targets, patient)


def variant(
    name: str,
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    gain: float = 0.0,
    count: int = 200,
    patient: Any = None,
    seed: int = 0,
) -> Outcomes:
    """One variant of two classes."""
    logits, targets = scores(count, len(seeds), gain, seed=seed)
    return Outcomes(name, seeds, [(predicted(member, targets, patient),) for member in logits])
