"""Do the first 24 hours in hospital, and what came before, tell who will stay for over a week?

Data: ``meds``, the MIMIC-IV demo in MEDS: 100 patients, 916,166 coded events; ODbL 1.0; Johnson et al., Scientific Data
10, 1 (2023); van de Water et al., PhysioNet (2025). Hospital stays judged 24 hours after admission by all that is known
of the patient up to then, the last 256 events of it: 164 train, 35 validation, 44 test, of 64, 16 and 20 patients.

Model: a record transformer of two blocks, width 32 and four heads, that embeds codes, values, ages, times and visits; a
mean with learnt weights over the events; AdamW with warm-up and cosine, averaged weights. 8 epochs of 16; the weights
with the lowest validation loss are reported. Customary settings, not tuned.

Source: none: the demo is too small for results, and nobody reports any. It shows that records in MEDS are read, learnt
from and explained; on MIMIC-IV itself the same file runs with ``data.source.path=FOLDER``.

Expect: test AUROC 0.xxx, mean of seeds 0 to 4 (0.xxx to 0.xxx; 95 % interval of a run about 0.xxx to 0.xxx): from 20
patients nothing follows. About 30 seconds a run on two CPU cores, 15 of them to read the file.

    RESEARCH_DATA_DIR=DATA research run experiments/records_transformer.py

where ``DATA/mimic4_demo_meds`` holds ``mimic_iv_demo_meds_events.parquet``. What it attends to in a record, as a
picture: ``research evaluate RUN --attention PATIENT``.
"""

from research.data import MEDS, EventData
from research.experiment import Evaluation, Experiment, Selection
from research.losses import CrossEntropy
from research.models import RecordTransformer
from research.optimizers import AdamW
from research.schedules import WarmupCosine

experiment = Experiment(
    data=EventData(source=MEDS(task="long_stay"), longest=256, values="scaled"),
    model=RecordTransformer(vocabulary=2000, width=32, depth=2, heads=4, readout="attention"),
    loss=CrossEntropy(),
    optimizer=AdamW(learning_rate=WarmupCosine(peak=3e-3), weight_decay=1e-2, average=0.99),
    epochs=8,
    batch_size=16,
    evaluation=Evaluation(select=Selection(metric="loss")),
)
