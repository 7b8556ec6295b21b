"""Does a small convolutional network tell pneumonia from normal lungs on children's chest films?

draft
"""

from research.data import Augmentation, ImageData, MedMNIST
from research.experiment import Evaluation, Experiment, Selection
from research.losses import CrossEntropy
from research.models import CNN
from research.optimizers import AdamW
from research.schedules import WarmupCosine

experiment = Experiment(
    data=ImageData(
        source=MedMNIST(name="pneumoniamnist"),
        augmentation=Augmentation(rotation=10.0, translation=0.1, zoom=0.1, brightness=0.1),
    ),
    model=CNN(widths=(32, 64), dropout=0.3),
    loss=CrossEntropy(),
    optimizer=AdamW(learning_rate=WarmupCosine(peak=1e-3), weight_decay=1e-3, average=0.99),
    epochs=15,
    batch_size=32,
    evaluation=Evaluation(select=Selection(metric="loss")),
)
