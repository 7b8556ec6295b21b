"""Does a small convolutional network tell pneumonia from normal lungs on children's films?

Data: PneumoniaMNIST, 28 x 28 pixels: 4,708 train, 524 validation, 624 test films of children of one to five years
(pneumonia 74 %, 74 %, 63 %); CC BY 4.0; Yang et al., Scientific Data 10, 41 (2023),
https://doi.org/10.1038/s41597-022-01721-8; films by Kermany et al., Cell 172, 1122-1131 (2018),
https://doi.org/10.1016/j.cell.2018.02.010. Official splits; no patient identifiers, so intervals are by film. At this
size a few films are equal to the pixel: 8 of validation are in train too, and 3 of test are copies of others in it.
The numbers below are from a file whose training rows are in another order than the official one, which is noted.

Model: convolution 32, pooling, convolution 64, pooling, dense 64, as in `cifar10_cnn`; dropout 0.3, AdamW
with warm-up and cosine, averaged weights; small rotations, shifts, zooms and changes of brightness. 15 epochs of 32;
the weights with the lowest validation loss are reported. The settings are customary ones, not tuned.

Source: Yang et al. 2023, benchmark of ResNet-18 at 28 pixels: AUROC 0.944, accuracy 0.854. Their protocol differs: 100
epochs of 128 without augmentation, Adam with two steps of decay, the best epoch by validation AUROC; no interval is
given.

Expect: test AUROC 0.957, mean of seeds 0 to 4 (0.952 to 0.960; 95 % interval of a run about 0.939 to 0.970), accuracy
at 0.5 0.895 (0.881 to 0.901; interval 0.868 to 0.917). The published AUROC lies inside that interval, the published
accuracy below it. About 30 seconds a run on two CPU cores, half of it to compile.

    RESEARCH_DATA_DIR=DATA research run experiments/chest_xray_cnn.py
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
