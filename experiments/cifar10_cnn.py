"""What does the source article's small network reach on ten classes of everyday pictures?

draft
"""

from research.data import CIFAR10, Augmentation, ImageData, ImageFolder, Split
from research.experiment import Evaluation, Experiment
from research.losses import CrossEntropy
from research.models import CNN
from research.optimizers import Adam

full = CIFAR10()
small = ImageFolder(
    path="cifar10_small",
    name="cifar10_small: 500 + 100 pictures of each class of CIFAR-10, not the whole",
    licence="not stated by the publisher; in common use for research",
    citation="A. Krizhevsky: Learning multiple layers of features from tiny images (2009); re-encoded as JPEG",
)

experiment = Experiment(
    data=ImageData(
        source=full if full.found() else small,
        split=Split(validation=0.1),
        augmentation=Augmentation(shear=0.2, zoom=0.2, horizontal_flip=True),
    ),
    model=CNN(widths=(32, 64), dense_widths=(64,), kernel_init="glorot_uniform"),
    loss=CrossEntropy(),
    optimizer=Adam(learning_rate=1e-3),
    steps=1000,
    batch_size=32,
    evaluation=Evaluation(every_steps=100),
)
