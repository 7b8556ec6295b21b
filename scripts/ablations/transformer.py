"""Transformers: a search over learning rate, dropout and weight decay of `synthetic_records_transformer`.

    research ablate scripts/ablations/transformer.py --ablations ablations

To copy: name your own experiment as the baseline, and ranges instead of values. Trials differ in numbers alone, so
they share one compiled program. The best trial is the best of many: train it anew with other seeds before you report
it. Runs offline; the best possible AUROC is 0.904.
"""

from pathlib import Path

from research.ablation import Ablation, LogUniform, Search, Uniform
from research.experiment_file import load_experiment

baseline, _ = load_experiment(Path(__file__).parents[2] / "experiments" / "synthetic_records_transformer.py")

ablation = Ablation(
    baseline=baseline,
    search=Search(
        ranges={
            "optimizer.learning_rate.peak": LogUniform(1e-4, 1e-2),
            "optimizer.weight_decay": LogUniform(1e-4, 1e-1),
            "model.dropout": Uniform(0.0, 0.4),
        },
        trials=8,
    ),
    seeds=3,
)
