"""Does a GRU that decays what it last saw (GRU-D) tell better who will die in hospital?

Data: ``physionet2012``, set A of the PhysioNet/CinC Challenge 2012: 3,997 stays with any observation, 554 deaths, 37
variables at irregular times, mostly missing, and eight columns of what is known on admission; ODC-BY 1.0; Silva et al.,
Computing in Cardiology 2012. 2,557 train, 640 validation, 800 test; a stay is a patient.

Model: GRU-D of 64 units: the last value of each variable decays towards its mean, and the hidden state towards 0, at
rates that are learnt, with the time since it was measured; what is known on admission beside the state at the end;
dropout 0.3, AdamW with warm-up and cosine, averaged weights. At most 15 epochs of 64; the weights with the lowest
validation loss are reported. Settings are those of ``vitals_gru``, not tuned.

Source: Che et al., Scientific Reports 8, 6085 (2018): mean AUROC of GRU-D over five folds on the 4,000 patients of set
A 0.8424 +- 0.012; their other GRUs reach 0.816 to 0.820. They do not use what is known on admission, and have batch
normalisation and dropout within the recurrence.

Expect: test AUROC 0.830, mean of seeds 0 to 4 (0.825 to 0.836; 95 % interval of a run about 0.785 to 0.867); five
folds, seed 0: 0.819 +- 0.013 (0.809 to 0.842; interval over all patients 0.799 to 0.835), so the published 0.842 lies
above the interval, and ``vitals_gru`` is 0.012 better, which is within either's interval. About 30 seconds a run on two
CPU cores, 8 of them to read the files.

    RESEARCH_DATA_DIR=DATA research run experiments/vitals_grud.py

where ``DATA/physionet2012`` holds ``set-a.tar.gz`` and ``Outcomes-a.txt`` as published.
"""

from research.data import PhysioNet2012, SeriesData
from research.experiment import Evaluation, Experiment, Selection
from research.losses import CrossEntropy
from research.models import RNN
from research.optimizers import AdamW
from research.schedules import WarmupCosine

experiment = Experiment(
    data=SeriesData(source=PhysioNet2012(), longest=160, keep="last", lengths=(64, 96, 160)),
    model=RNN(cell="grud", widths=(64,), dropout=0.3),
    loss=CrossEntropy(),
    optimizer=AdamW(learning_rate=WarmupCosine(peak=2e-3), weight_decay=1e-2, average=0.99),
    epochs=15,
    batch_size=64,
    evaluation=Evaluation(select=Selection(metric="loss", patience=5)),
)
