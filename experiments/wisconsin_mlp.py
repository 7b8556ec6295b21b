"""Does a small perceptron tell malignant from benign breast biopsies by 30 measurements of cell nuclei?"""

from research.data import Data, Wisconsin
from research.experiment import Evaluation, Experiment, Selection
from research.losses import CrossEntropy
from research.models import MLP
from research.optimizers import AdamW

experiment = Experiment(
    data=Data(source=Wisconsin()),
    model=MLP(widths=(64, 64), dropout=0.1),
    loss=CrossEntropy(),
    optimizer=AdamW(learning_rate=1e-3, weight_decay=1e-2),
    epochs=100,
    batch_size=32,
    evaluation=Evaluation(select=Selection(metric="loss")),
)
