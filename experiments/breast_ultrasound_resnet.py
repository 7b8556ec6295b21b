"""Does ResNet-18 tell malignant from other breast ultrasound pictures as well as in MedMNIST v2?

draft
"""

from research.data import Augmentation, ImageData, MedMNIST, Pixels
from research.experiment import Evaluation, Experiment, Selection
from research.losses import CrossEntropy
from research.models import ResNet
from research.optimizers import AdamW
from research.schedules import WarmupCosine

experiment = Experiment(
    data=ImageData(
        source=MedMNIST(name="breastmnist"),
        pixels=Pixels(mean=(0.5,), deviation=(0.5,)),
        augmentation=Augmentation(rotation=10.0, translation=0.1, zoom=0.1, horizontal_flip=True),
    ),
    model=ResNet(depth=18),
    loss=CrossEntropy(),
    optimizer=AdamW(learning_rate=WarmupCosine(peak=1e-3), weight_decay=1e-2, average=0.95),
    epochs=15,
    batch_size=32,
    evaluation=Evaluation(every_epochs=2, select=Selection(metric="auroc"), batch_size=128),
)
