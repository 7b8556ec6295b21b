"""How near does a small convolutional network come to the best AUROC that is possible on drawn chest films?

draft
"""

from research.data import Augmentation, ImageData, SyntheticXray
from research.experiment import Evaluation, Experiment, Selection
from research.losses import CrossEntropy
from research.models import CNN
from research.optimizers import AdamW
from research.schedules import WarmupCosine

experiment = Experiment(
    data=ImageData(
        source=SyntheticXray(patients=4000, size=48),
        augmentation=Augmentation(translation=0.05, horizontal_flip=True),
    ),
    model=CNN(widths=(16, 32, 32), dropout=0.2),
    loss=CrossEntropy(),
    optimizer=AdamW(learning_rate=WarmupCosine(peak=2e-3), weight_decay=1e-3, average=0.99),
    epochs=8,
    batch_size=32,
    evaluation=Evaluation(select=Selection(metric="loss")),
)
