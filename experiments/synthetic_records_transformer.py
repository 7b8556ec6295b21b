"""How near does a transformer come to the best possible AUROC on made-up patient records?

Data: ``synthetic_records``, 16,000 made-up patients with 10 to 40 coded events each, over visits, some with laboratory
values; the label is drawn from a known risk by a hidden condition and age. Made by this package (Apache-2.0), nothing
to cite and nothing to download. 10,240 train, 2,560 validation, 3,200 test.

Model: a record transformer of two blocks, width 32 and four heads, that embeds codes, values, ages, times and visits; a
mean with learnt weights over the events; AdamW with warm-up and cosine, averaged weights. 5 epochs of 64; the weights
with the lowest validation loss are reported. Customary settings, not tuned.

Source: `SyntheticRecords.bayes_auroc`, the AUROC of the best risk given the events, by Bayes' rule along the chain that
made them, 0.904: no model can expect more. Control: with ``data.source.visible=false`` the records shown are those of
other patients.

Expect: test AUROC 0.887, mean of seeds 0 to 2 (0.886 to 0.889; 95 % interval of a run about 0.874 to 0.899), 0.016
below the best possible; on these very test patients the best risk has 0.899. Control, seed 0: 0.485 (interval 0.465
to 0.505). About 30 seconds a run on two CPU cores.

    research run experiments/synthetic_records_transformer.py
"""

from research.data import EventData, SyntheticRecords
from research.experiment import Evaluation, Experiment, Selection
from research.losses import CrossEntropy
from research.models import RecordTransformer
from research.optimizers import AdamW
from research.schedules import WarmupCosine

experiment = Experiment(
    data=EventData(source=SyntheticRecords(patients=16_000), vocabulary=64, longest=40, values="scaled"),
    model=RecordTransformer(vocabulary=64, width=32, depth=2, heads=4, readout="attention"),
    loss=CrossEntropy(),
    optimizer=AdamW(learning_rate=WarmupCosine(peak=3e-3), weight_decay=1e-2, average=0.99),
    epochs=5,
    batch_size=64,
    evaluation=Evaluation(select=Selection(metric="loss")),
)
