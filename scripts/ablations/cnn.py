"""Convolutional networks: do augmentation, averaged weights and depth earn their place on `synthetic_xray_cnn`?

    research ablate scripts/ablations/cnn.py --ablations ablations

To copy: name your own experiment as the baseline, and what is changed in it, by dotted path (`research run FILE
--dry-run` shows the paths). Runs offline; the made-up films say what is best possible (AUROC 0.898).
"""

from pathlib import Path

from research.ablation import Ablation
from research.experiment_file import load_experiment

baseline, _ = load_experiment(Path(__file__).parents[2] / "experiments" / "synthetic_xray_cnn.py")

ablation = Ablation(
    baseline=baseline,
    variants={
        "no augmentation": {"data.augmentation": None},
        "no averaging": {"optimizer.average": None},
        "two convolutions": {"model.widths": (16, 32)},
        "batch normalisation": {"model.normalization": "batch"},
        "half of the patients": {"data.split.train_share": 0.5},
    },
    seeds=4,
)
