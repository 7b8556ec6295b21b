"""Recurrent networks: which cell, which readout and which learning rate suit `synthetic_vitals_gru`?

    research ablate scripts/ablations/rnn.py --ablations ablations

To copy: name your own experiment as the baseline. A grid makes a variant of each combination; those that differ in
numbers alone, such as learning rates, share one compiled program. Runs offline; the best possible AUROC is 0.901.
"""

from pathlib import Path

from research.ablation import Ablation
from research.experiment_file import load_experiment

baseline, _ = load_experiment(Path(__file__).parents[2] / "experiments" / "synthetic_vitals_gru.py")

ablation = Ablation(
    baseline=baseline,
    variants={
        "LSTM": {"model.cell": "lstm"},
        "Elman": {"model.cell": "simple"},
        "last state": {"model.readout": "last"},
        "attention": {"model.readout": "attention"},
    },
    grid={"optimizer.learning_rate.peak": [2e-3, 5e-3, 1e-2]},
    seeds=4,
)
