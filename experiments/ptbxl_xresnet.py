"""Does a residual network read the five diagnostic superclasses from 12-lead ECGs?

Data: ``ptbxl``, PTB-XL, electrocardiograms of 12 leads and 10 s at 100 Hz, with any of five diagnostic superclasses:
normal, myocardial infarction, changes of ST and T, conduction disturbance, hypertrophy; CC BY 4.0; Wagner et al.,
Scientific Data 7, 154 (2020). Folds of the benchmark: 1 to 8 train, 9 validates, 10 tests. The numbers below are from
the first 500 of its 21,799 records, of which 12 have no such label: 352 train, 72 validation, 64 test, of 460 patients.

Model: xresnet1d of the benchmark, here of 18 layers and 32 channels for few records, on random pieces of 2.5 s; a
record gets the greatest of its windows' logits. AdamW in one cycle, 20 epochs of 32; the weights with the lowest
validation loss are reported. Customary settings, not tuned.

Source: Strodthoff et al., IEEE Journal of Biomedical and Health Informatics 25 (2021): macro AUROC 0.928 of
xresnet1d101 on all records, with 50 epochs of 128. Their network on all of PTB-XL is ``model.model.depth=101
model.model.width=64 batch_size=128 epochs=50`` (not run here).

Expect: macro AUROC 0.812, mean of seeds 0 to 4 (0.794 to 0.832; 95 % interval of a run about 0.728 to 0.874), far below
what all records allow. About 40 seconds a run on two CPU cores.

    RESEARCH_DATA_DIR=DATA research run experiments/ptbxl_xresnet.py

where ``DATA/ptbxl`` holds ``ptbxl_database.csv``, ``scp_statements.csv`` and ``records100/`` as published.
"""

from research.data import PTBXL, SeriesAugmentation, SeriesData
from research.experiment import Evaluation, Experiment, Selection
from research.losses import BinaryCrossEntropy
from research.models import Windowed, XResNet1D
from research.optimizers import AdamW
from research.schedules import OneCycle

experiment = Experiment(
    data=SeriesData(source=PTBXL(labels="superdiagnostic"), augmentation=SeriesAugmentation(crop=250)),
    model=Windowed(model=XResNet1D(depth=18, width=32), length=250),
    loss=BinaryCrossEntropy(),
    optimizer=AdamW(learning_rate=OneCycle(peak=1e-2), weight_decay=1e-2),
    epochs=20,
    batch_size=32,
    evaluation=Evaluation(select=Selection(metric="loss")),
)
