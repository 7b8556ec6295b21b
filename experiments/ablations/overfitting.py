"""Which remedies keep a convolutional network from learning its training films by heart?

Data: PneumoniaMNIST, 28 x 28 pixels, as in `chest_xray_cnn`: 4,708 train, 524 validation, 624 test films of children;
CC BY 4.0; Yang et al., Scientific Data 10, 41 (2023), https://doi.org/10.1038/s41597-022-01721-8. No patient
identifiers, so intervals are by film.

Model: the network of `chest_xray_cnn` with nothing against overfitting: no dropout, no weight decay, no augmentation,
no averaging, the last weights of 2,220 updates (15 epochs of all films). Each variant adds one remedy, and one adds
several; the parts of the training films, with as many updates, are a learning curve, which says what more data brings.

Source: customary remedies and their customary strengths, not tuned here: dropout (Srivastava et al., JMLR 2014),
decoupled weight decay (Loshchilov & Hutter, ICLR 2019), augmentation (Shorten & Khoshgoftaar, J. Big Data 2019), a
smaller network, the best weights on validation (early stopping, Prechelt 1998).

    RESEARCH_DATA_DIR=DATA research ablate experiments/ablations/overfitting.py --metric auroc --metric log_loss
"""

from research.ablation import Ablation
from research.data import Augmentation, ImageData, MedMNIST
from research.experiment import Evaluation, Experiment, Selection
from research.losses import CrossEntropy
from research.models import CNN
from research.optimizers import AdamW
from research.schedules import WarmupCosine

baseline = Experiment(
    data=ImageData(source=MedMNIST(name="pneumoniamnist")),
    model=CNN(widths=(32, 64), dropout=0.0),  # a number, so that dropout is trained by the same program
    loss=CrossEntropy(),
    optimizer=AdamW(learning_rate=WarmupCosine(peak=1e-3), weight_decay=0.0),
    steps=2220,  # not epochs, so that parts of the films are trained on as long as all of them
    batch_size=32,
    evaluation=Evaluation(every_steps=148, select=None),
)

augmentation = Augmentation(rotation=10.0, translation=0.1, zoom=0.1, brightness=0.1)
best = Selection(metric="loss")

ablation = Ablation(
    baseline=baseline,
    variants={
        "dropout 0.5": {"model.dropout": 0.5},
        "weight decay 0.3": {"optimizer.weight_decay": 0.3},
        "augmentation": {"data.augmentation": augmentation},
        "smaller network": {"model.widths": (8, 16), "model.dense_widths": (16,)},
        "best weights": {"evaluation.select": best},
        "all but smaller": {
            "model.dropout": 0.5,
            "optimizer.weight_decay": 0.3,
            "data.augmentation": augmentation,
            "evaluation.select": best,
        },
        "half of the films": {"data.split.train_share": 0.5},
        "a quarter of the films": {"data.split.train_share": 0.25},
        "a tenth of the films": {"data.split.train_share": 0.1},
    },
    seeds=5,
)
