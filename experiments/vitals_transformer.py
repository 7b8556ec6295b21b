"""Does a transformer tell as well as a GRU who will die in hospital?

Data: ``physionet2012``, set A of the PhysioNet/CinC Challenge 2012: 3,997 stays with any observation, 554 deaths, 37
variables at irregular times, mostly missing, and eight columns of what is known on admission; ODC-BY 1.0; Silva et al.,
Computing in Cardiology 2012. 2,557 train, 640 validation, 800 test; a stay is a patient.

Model: a transformer encoder, two pre-norm blocks of width 64 with four heads, that sees of each variable its last
value, whether it was measured, and the time since it last was; times encoded by learnt waves (Time2Vec); a mean with
learnt weights over the steps beside what is known on admission; dropout 0.3, AdamW with warm-up and cosine, averaged
weights. At most 15 epochs of 64; the weights with the highest validation AUROC are reported. Customary settings, not
tuned.

Source: Che et al., Scientific Reports 8, 6085 (2018), report recurrent networks over five folds of set A, AUROC 0.8155
to 0.8424 (see ``vitals_gru``); no transformer by this protocol is known to us.

Expect: test AUROC 0.827, mean of seeds 0 to 2 (0.823 to 0.831; 95 % interval of a run about 0.785 to 0.863), on the
same patients as 0.836 of ``vitals_gru``. About 2 minutes a run on two CPU cores, 8 seconds of them to read the files.

    RESEARCH_DATA_DIR=DATA research run experiments/vitals_transformer.py

where ``DATA/physionet2012`` holds ``set-a.tar.gz`` and ``Outcomes-a.txt`` as published. What it attends to in a
patient, as a picture: ``research evaluate RUN --attention PATIENT``.
"""

from research.data import PhysioNet2012, SeriesData
from research.experiment import Evaluation, Experiment, Selection
from research.losses import CrossEntropy
from research.models import SeriesTransformer
from research.optimizers import AdamW
from research.schedules import WarmupCosine

experiment = Experiment(
    data=SeriesData(source=PhysioNet2012(), longest=160, keep="last", lengths=(64, 96, 160)),
    model=SeriesTransformer(
        width=64,
        depth=2,
        heads=4,
        channels=("values", "observed", "since"),
        position="continuous",
        time_scale=24.0,
        readout="attention",
        dropout=0.3,
    ),
    loss=CrossEntropy(),
    optimizer=AdamW(learning_rate=WarmupCosine(peak=1e-3), weight_decay=1e-2, average=0.99),
    epochs=15,
    batch_size=64,
    evaluation=Evaluation(select=Selection(metric="auroc", patience=5)),
)
