"""What does the source article's small network reach on ten classes of everyday pictures?

draft
"""


from research.data import Augmentation, ImageData, ImageFolder, Split
from research.experiment import Evaluation, Experiment
from research.losses import CrossEntropy
from research.models import CNN
from research.optimizers import Adam

SMALL = ImageFolder(
    path="cifar10_small",
)

experiment = Experiment(
    data=ImageData(
        source=SMALL,
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
