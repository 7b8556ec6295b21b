"""Does ResNet-18 tell malignant from other breast ultrasound as well as in MedMNIST v2?

Data: BreastMNIST, 28 x 28 pixels: 546 train, 78 validation, 156 test pictures of breasts (malignant 27 %; benign and
normal are one class); CC BY 4.0; Yang et al., Scientific Data 10, 41 (2023),
https://doi.org/10.1038/s41597-022-01721-8; pictures by Al-Dhabyani et al., Data in Brief 28, 104863 (2020),
https://doi.org/10.1016/j.dib.2019.104863. Official splits; no patient identifiers, though several pictures may be of
one patient, so intervals are by picture and too narrow if anything; one picture of test is in train too. Malignant is
the positive class here, the other one in the file.

Model: ResNet-18 with a 3 x 3 stem, as in MedMNIST v2 at 28 pixels; AdamW with warm-up and cosine, averaged weights;
small rotations, shifts, zooms and flips. 15 epochs of 32; the weights with the best validation AUROC are reported.
Averaged weights go with the batch statistics of the trained ones, see `Supervised`. The settings are customary ones,
not tuned.

Source: Yang et al. 2023, benchmark of ResNet-18 at 28 pixels: AUROC 0.901, accuracy 0.863. Their protocol differs:
100 epochs of 128 without augmentation, Adam with two steps of decay, the best epoch by validation AUROC; no interval
is given.

Expect: test AUROC 0.888, mean of seeds 0 to 4 (0.864 to 0.911; 95 % interval of a run about 0.813 to 0.935), accuracy
at 0.5 0.850 (0.846 to 0.865; interval 0.786 to 0.898). The published numbers lie inside these intervals. About 15
minutes a run on two CPU cores with other work beside it.

    RESEARCH_DATA_DIR=DATA research run experiments/breast_ultrasound_resnet.py
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
