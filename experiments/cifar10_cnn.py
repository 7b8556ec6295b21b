"""What does a tutorial's small network reach on ten classes of everyday pictures?

Data: CIFAR-10, 60,000 colour pictures of 32 x 32 pixels; no licence stated by the publisher, in common use for
research; Krizhevsky, "Learning multiple layers of features from tiny images", 2009,
https://www.cs.toronto.edu/~kriz/cifar.html. Where its archive is on this
machine (``research data prepare cifar10`` fetches it), 45,000 train, 5,000 validation, 10,000 test; elsewhere
``cifar10_small`` below $RESEARCH_DATA_DIR, 500 train and 100 test pictures of each class, re-encoded as JPEG: 4,500,
500 and 1,000. Which of the two it was stands in every report. No patients, so intervals are by picture.

Model: convolution 32, pooling, convolution 64, pooling, dense 64, ten classes (167,562 parameters); its augmentation
(shear 0.2, which Keras takes as degrees, zoom 0.2, horizontal flips, pixels times 1/255); Adam at 0.001, 10 epochs of
100 steps of 32, validation after each, the last weights are tested. Corrected: the listing never defines
``test_generator``, so the test split is used; ``keras`` is not imported; its loss, ``categorical_crossentropy``, does
not fit the integer labels it is given, so cross-entropy of class numbers is taken; validation is a tenth of train, held
out. Different: its "epochs" are 100 steps each, 7.1 passes over cifar10_small in all, 0.7 over the whole set; Adam's
epsilon is 1e-8 here and 1e-7 in Keras.

Source: the Keras listing in section 4 of the article that this framework was asked to begin with. It came to us without
title, address or accuracy, so there is nothing to compare with.

Expect: test accuracy 0.520, mean of seeds 0 to 4 (0.505 to 0.529; 95 % interval of a run about 0.489 to 0.551), on
cifar10_small; chance is 0.1. About 30 seconds a run on two CPU cores. On the whole set it was not run.

    RESEARCH_DATA_DIR=DATA research run experiments/cifar10_cnn.py
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
