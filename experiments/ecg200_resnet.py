"""Does a residual network find myocardial infarction in single heartbeats (ECG200)?

Data: ``ucr``, set ECG200 of the UCR archive: one lead of single heartbeats, 96 samples each, 100 train and 100 test,
normal (class 1, which counts as the positive one) or of myocardial infarction; Olszewski, thesis, Carnegie Mellon
University, 2001; Dau et al., IEEE/CAA Journal of Automatica Sinica 6 (2019); free for research. Official split, no
validation; no patient identifiers, so intervals are by heartbeat.

Model: the ResNet of Wang et al., IJCNN 2017, with nine convolutions; running statistics of the batch normalisation are
kept for 10 instead of 100 updates. Adam with warm-up and cosine, 150 epochs of 10; the last weights are reported, so
nothing is chosen on test. Customary settings, not tuned.

Source: Ismail Fawaz et al., Data Mining and Knowledge Discovery 33 (2019), from their published results: accuracy
0.874, standard deviation of ten runs 0.019 (their FCN: 0.889 and 0.010). They train for 1,500 epochs and take the
weights with the lowest training loss.

Expect: test accuracy 0.886, mean of seeds 0 to 4 (0.870 to 0.910; 95 % interval of a run about 0.81 to 0.94), the
published one within its range. Other sets of the archive and the FCN are in docs/proofs.md. About 60 seconds a run on
two CPU cores.

    RESEARCH_DATA_DIR=DATA research run experiments/ecg200_resnet.py

where ``DATA/ucr/ECG200`` holds ``ECG200_TRAIN.tsv`` and ``ECG200_TEST.tsv`` as published.
"""

from research.data import UCR, SeriesData, Split
from research.experiment import Experiment
from research.losses import CrossEntropy
from research.models import ResNet1D
from research.optimizers import Adam
from research.schedules import WarmupCosine

experiment = Experiment(
    data=SeriesData(source=UCR(name="ECG200"), split=Split(validation=None), scaling="series"),
    model=ResNet1D(momentum=0.9),
    loss=CrossEntropy(),
    optimizer=Adam(learning_rate=WarmupCosine(peak=1e-3)),
    epochs=150,
    batch_size=10,
)
