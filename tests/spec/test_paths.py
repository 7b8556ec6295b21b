"""Fields by dotted path: overrides by type and range, what their messages say, listing and differences."""

from __future__ import annotations

from typing import Any

import pytest

from research.data import TableData, Wisconsin
from research.errors import UserError
from research.experiment import Evaluation, Execution, Experiment, Selection
from research.losses import CrossEntropy, Focal
from research.models import MLP
from research.optimizers import SGD, Adam, AdamW
from research.schedules import Milestones, WarmupCosine
from research.spec import apply_overrides, check, diff, replace

EXPERIMENT = Experiment(
    data=TableData(source=Wisconsin()),
    model=MLP(widths=(64, 32), dropout=0.1),
    loss=CrossEntropy(class_weight=(1, 2)),
    optimizer=AdamW(learning_rate=WarmupCosine()),
    epochs=3,
)


def value_at(path: str, overridden: Any) -> Any:
    for part in path.split("."):
        overridden = overridden[int(part)] if part.isdigit() else getattr(overridden, part)
    return overridden


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("optimizer.weight_decay=3e-4", 3e-4),
        ("optimizer.weight_decay=1", 1.0),
        ("optimizer.weight_decay = 0.5 ", 0.5),
        ("optimizer.weight_decay=none", None),
        ("optimizer.weight_decay=Off", None),
        ("optimizer.learning_rate=1", 1.0),
        ("optimizer.learning_rate.peak=0.5", 0.5),
        ("optimizer.learning_rate=milestones", Milestones()),
        ("optimizer.learning_rate=Milestones(initial=0.2, at=(0.25, 0.5))", Milestones(initial=0.2, at=(0.25, 0.5))),
        ("optimizer=SGD", SGD()),
        ("optimizer=Adam()", Adam()),
        (
            "optimizer=Adam(learning_rate=WarmupCosine(peak=1), b1=0.5)",
            Adam(learning_rate=WarmupCosine(peak=1), b1=0.5),
        ),
        ("optimizer=Adam(weight_decay=None)", Adam(weight_decay=None)),
        ("loss=focal(gamma=3)", Focal(gamma=3)),
        ("loss.class_weight=none", None),
        ("loss.class_weight=3, 4", (3.0, 4.0)),
        ("loss.class_weight.1=7", 7.0),
        ("model.widths=128", (128,)),
        ("model.widths=(128, 64,)", (128, 64)),
        ("model.widths=[128,64]", (128, 64)),
        ("model.widths=()", ()),
        ("model.widths.1=8", 8),
        ("model.activation=GELU", "gelu"),
        ("model.normalization=batch", "batch"),
        ("model.normalization=none", None),
        ("batch_size=none", None),
        ("batch_size=16", 16),
        ("evaluation.select=Selection(metric='auroc', patience=4)", Selection(metric="auroc", patience=4)),
        ("evaluation=Evaluation(select=Selection(patience=2))", Evaluation(select=Selection(patience=2))),
        ("data.source=SyntheticTable(patients=50, signal=false)", None),
    ],
)
def test_overrides(override: str, value: Any) -> None:
    overridden = apply_overrides(EXPERIMENT, [override])
    check(overridden)
    path = override.partition("=")[0].strip()
    found = value_at(path, overridden)
    if path == "data.source":
        assert (found.patients, found.signal) == (50, False)
        return
    assert found == value and type(found) is type(value)
    elsewhere = [p for p in diff(EXPERIMENT, overridden) if not p.startswith(path)]
    assert elsewhere == ([path.rpartition(".")[0]] if path.rpartition(".")[2].isdigit() else [])


def test_booleans_and_static_numbers() -> None:
    overridden = apply_overrides(
        Execution(), ["tensorboard=False", "checkpoint_minutes=2", "device=CPU", "log_every=4"]
    )
    assert overridden == Execution(tensorboard=False, checkpoint_minutes=2.0, device="cpu", log_every=4)
    assert apply_overrides(overridden, ["tensorboard=true", "log_every=off"]).log_every is None


def test_later_overrides_see_earlier_ones() -> None:
    overridden = apply_overrides(EXPERIMENT, ["optimizer=SGD", "optimizer.learning_rate=0.3", "optimizer.clip_norm=1"])
    assert overridden.optimizer == SGD(learning_rate=0.3, clip_norm=1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "optimizer.learning_rte=1",
            r"AdamW has no field 'learning_rte'.* mean 'learning_rate'.*Valid fields: learning",
        ),
        ("optimzer=SGD", r"Experiment has no field 'optimzer'. Did you mean 'optimizer'\?.*data, model, loss"),
        ("model.dropout=lots", r"model\.dropout: a number or none is needed, 'lots' was given"),
        ("model.dropout=1.5", r"model\.dropout: a number in \[0, 1\) is needed, 1\.5 was given"),
        ("model.dropout=nan", r"model\.dropout: .*is needed, nan"),
        ("optimizer.learning_rate.peak=inf", r"peak: .*is needed, inf"),
        ("model.dropout=", r"model\.dropout: a number or none is needed, '' was given"),
        ("model.widths=8,big", r"model\.widths\.1: a whole number is needed, 'big' was given"),
        ("model.widths=8,0", r"model\.widths\.1: a number of at least 1 is needed, 0"),
        ("model.widths=2.5", r"model\.widths\.0: a whole number is needed, 2\.5 \(float\) was given"),
        ("model.widths.2=8", r"model\.widths\.2: '2' does not pick one of the 2 items; use 0 to 1"),
        ("model.activation=rel", r"one of 'elu'.*'rel' was given. Did you mean 'relu'\?"),
        ("batch_size=3.5", r"batch_size: a whole number or none is needed, 3\.5"),
        ("batch_size=0", r"batch_size: a number of at least 1 is needed, 0"),
        ("batch_size=true", r"batch_size: a whole number or none is needed, 'true' was given"),
        ("epochs.more=3", r"epochs\.more: epochs is 3, which has no fields. Set epochs itself"),
        ("optimizer=Adamm", r"optimizer: 'Adamm' is not known here. Did you mean 'Adam'\? Known: Adam, AdamW"),
        ("optimizer=Optimizer", r"'Optimizer' is not known here"),
        ("optimizer=MLP", r"optimizer: 'MLP' is not known here"),
        (
            "optimizer.learning_rate=3e-4x",
            r"rate: '3e-4x' is not known here.*Known: a number, ExponentialDecay",
        ),
        ("optimizer=Adam(b3=1)", r"Adam has no field 'b3'. Valid fields: learning_rate"),
        ("optimizer=Adam(b1=1)", r"optimizer\.b1: a number in \[0, 1\) is needed, 1\.0"),
        ("optimizer=Adam(0.1)", r"'Adam\(0\.1\)' is not readable; write Adam\(field=value, \.\.\.\)"),
        ("optimizer=Adam(b1=0.5", r"is not readable"),
        ("data.source=CSV(target='x')", r"data\.source: CSV needs path: write CSV\(path=\.\.\.\)"),
        ("optimizer.learning_rate", r"not an override; write path=value"),
        ("=3", r"not an override; write path=value"),
        ("data=none", r"data: Supervised needs it"),
    ],
)
def test_messages_of_overrides(override: str, message: str) -> None:
    with pytest.raises(UserError, match=f"(?s){message}"):
        check(apply_overrides(EXPERIMENT, [override]))


def test_replace_takes_values() -> None:
    changed = replace(EXPERIMENT, {"optimizer.learning_rate.peak": 1, "model.widths.0": 7, "loss.class_weight.0": 5})
    assert changed.optimizer == AdamW(learning_rate=WarmupCosine(peak=1.0))
    assert changed.model == MLP(widths=(7, 32), dropout=0.1)
    assert changed.loss == CrossEntropy(class_weight=(5.0, 2.0))
    assert replace(EXPERIMENT, {}) == EXPERIMENT
    with pytest.raises(UserError, match="model: Model or none is needed, 3"):
        replace(EXPERIMENT, {"model": 3})


def test_diff_names_every_difference_once_with_both_values() -> None:
    assert diff(EXPERIMENT, EXPERIMENT) == {}
    assert diff(EXPERIMENT, EXPERIMENT.replace(epochs=4, batch_size=None)) == {
        "epochs": (3, 4),
        "batch_size": (32, None),
    }
    changed = diff(EXPERIMENT, replace(EXPERIMENT, {"optimizer": SGD(learning_rate=0.1)}))
    assert changed["optimizer"] == ("AdamW", "SGD")
    assert changed["optimizer.learning_rate"] == ("WarmupCosine", 0.1)
    assert changed["optimizer.learning_rate.peak"] == (1e-3, "(absent)")
    assert "optimizer.clip_norm" not in changed
    assert diff(SGD(), Adam()) == {"": ("SGD", "Adam")}
