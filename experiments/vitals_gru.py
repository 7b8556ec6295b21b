"""Do the first 48 hours in intensive care tell who will die in hospital?

Data: ``physionet2012``, set A of the PhysioNet/CinC Challenge 2012: 3,997 stays with any observation, 554 deaths, 37
variables at irregular times, mostly missing, and eight columns of what is known on admission; ODC-BY 1.0; Silva et al.,
Computing in Cardiology 2012. 2,557 train, 640 validation, 800 test; a stay is a patient.

Model: a GRU of 64 units that sees of each variable its last value, whether it was measured, and the time since it last
was; the state at the end beside what is known on admission; dropout 0.3, AdamW with warm-up and cosine, averaged
weights. At most 15 epochs of 64; the weights with the lowest validation loss are reported. Customary settings, not
tuned.

Source: Che et al., Scientific Reports 8, 6085 (2018): mean AUROC of five folds on the 4,000 patients of set A 0.8195
(GRU with means for what is missing), 0.8162 (last values), 0.8155 (values, mask and intervals), 0.8424 +- 0.012 (GRU-D,
see ``vitals_grud``). They do not use what is known on admission.

Expect: test AUROC 0.836, mean of seeds 0 to 4 (0.831 to 0.842; 95 % interval of a run about 0.795 to 0.871); five
folds, seed 0: 0.831 +- 0.014 (0.816 to 0.853; interval over all patients 0.811 to 0.846), between the published GRUs
and GRU-D. About 40 seconds a run on two CPU cores, 8 of them to read the files.

    RESEARCH_DATA_DIR=DATA research run experiments/vitals_gru.py

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
    model=RNN(cell="gru", widths=(64,), channels=("values", "observed", "since"), dropout=0.3),
    loss=CrossEntropy(),
    optimizer=AdamW(learning_rate=WarmupCosine(peak=2e-3), weight_decay=1e-2, average=0.99),
    epochs=15,
    batch_size=64,
    evaluation=Evaluation(select=Selection(metric="loss", patience=5)),
)
