"""Do eight measurements, glucose and blood pressure among them, foretell diabetes?

Data: Pima Indians Diabetes, 768 women of at least 21 years (268 with diabetes within five years); public, licence not
stated by its donor; Smith et al., Proc. Symposium on Computer Applications in Medical Care, 261-265 (1988). In five
columns 0 stands for a missing value (652 of 3,840 values, 374 of them insulin); they are declared missing and become
the median of train. The file has no patient identifiers; each row is a woman.

Model: one hidden layer of 32, dropout 0.2, AdamW with warm-up and cosine, gradients of two batches of 16 added up
and clipped, a moving average of the weights, early stopping and the best validation weights. Sizes and rates were
chosen on the validation split (123 women; 13 settings, three seeds each); the test split was not looked at.
Indicators of missing values made the validation loss worse (0.493 against 0.475), so there are none.

Source: Battineni et al., Machines 7(4), 74 (2019), cross-validation on the same 768 rows: AUROC of logistic
regression 0.83, random forest 0.82, naive Bayes 0.81; accuracies with ten folds 0.77, 0.74 and 0.76. Smith et al.
give 76 % sensitivity and specificity for ADAP (576 rows for training, 192 for testing). Here the split is one (491
train, 123 validation, 154 test), so its test numbers are uncertain by 0.06; five folds are the fairer comparison.

Expect: test AUROC 0.870, mean of seeds 0 to 4 (0.858 to 0.884; 95 % interval of a run about 0.802 to 0.917), accuracy
0.803 (0.779 to 0.818); five folds, seed 0: AUROC 0.831 (0.784 to 0.893; interval 0.798 to 0.857), accuracy 0.772: this
split is an easy one. Logistic regression does a little better: 0.879, and 0.834 over the folds. About 2 seconds a run
once compiled, on two CPU cores.

    RESEARCH_DATA_DIR=DATA research run experiments/diabetes_mlp.py

where ``DATA/tabular/pima_diabetes.csv`` is UCI's former file ``pima-indians-diabetes.data``.
"""

from research.data import CSV, TableData
from research.experiment import Evaluation, Experiment, Selection
from research.losses import CrossEntropy
from research.models import MLP
from research.optimizers import AdamW
from research.schedules import WarmupCosine

pima = CSV(
    path="tabular/pima_diabetes.csv",
    header=False,
    columns=(
        *("pregnancies", "glucose", "blood_pressure", "skin_fold", "insulin"),
        *("body_mass_index", "pedigree", "age", "diabetes"),
    ),
    target="diabetes",
    classes=("0", "1"),
    class_names=("no diabetes", "diabetes"),
    sentinels=("glucose", "blood_pressure", "skin_fold", "insulin", "body_mass_index"),
    name="pima_diabetes",
    licence="public; not stated by its donor",
    citation=(
        "J. W. Smith et al.: Using the ADAP learning algorithm to forecast the onset of diabetes mellitus. "
        "Proc. Symposium on Computer Applications in Medical Care, 261-265 (1988)"
    ),
)

experiment = Experiment(
    data=TableData(source=pima),
    model=MLP(widths=(32,), dropout=0.2),
    loss=CrossEntropy(),
    optimizer=AdamW(
        learning_rate=WarmupCosine(peak=3e-3, warmup=0.1),
        weight_decay=0.3,
        clip_norm=1.0,
        accumulate=2,
        average=0.98,
    ),
    epochs=100,
    batch_size=16,
    evaluation=Evaluation(select=Selection(metric="loss", patience=20)),
)
