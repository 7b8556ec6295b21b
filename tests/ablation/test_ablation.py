"""Arms and members of an ablation: what is made of variants, grids and searches, and which mistakes are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import EXPERIMENT

from research.ablation.ablation import Ablation
from research.ablation.file import load_ablation, options
from research.ablation.result import CHOSEN
from research.ablation.search import Integers, LogUniform, Search, Uniform
from research.errors import UserError
from research.optimizers import SGD, AdamW

VARIANTS = {"no dropout": {"model.dropout": None}, "wider": {"model.widths": (8,)}}


def of(kind: Any, **fields: Any) -> Any:
    """A dataclass with fields of any type, as users make them: the tests' checks of types stand in their way."""
    made = object.__new__(kind)
    for field in dataclasses.fields(kind):
        if field.name not in fields:
            factory = field.default_factory
            fields[field.name] = field.default if factory is dataclasses.MISSING else factory()
        object.__setattr__(made, field.name, fields[field.name])
    return made


def test_each_variant_has_every_seed_and_fold() -> None:
    ablation = Ablation(
        baseline=EXPERIMENT, variants=VARIANTS, grid={"optimizer.learning_rate": [1e-3, 2e-2]}, seeds=2, folds=3
    )
    arms, notes = ablation.arms()
    assert [arm.name for arm in arms] == ["baseline", "no dropout", "wider", "learning_rate=0.001"]
    assert notes == ("learning_rate=0.02 is the baseline itself",)
    members = ablation.members()
    assert len(members) == 4 * 2 * 3 and len({member.identity for member in members}) == len(members)
    assert members[-1].name == "learning_rate=0.001/seed=1/fold=2"
    split = members[-1].experiment.data.split  # type: ignore[union-attr]
    assert (split.folds, split.fold) == (3, 2)
    assert members[-1].experiment.optimizer == arms[-1].experiment.optimizer != EXPERIMENT.optimizer


def test_inner_folds_are_trained_beside_each_fold() -> None:
    ablation = Ablation(baseline=EXPERIMENT, variants=VARIANTS, seeds=2, folds=3, inner_folds=2)
    members = ablation.members()
    assert len(members) == 3 * 2 * 3 * (1 + 2) and len({member.identity for member in members}) == len(members)
    assert [member.name for member in members[:4]] == [
        "baseline/seed=0/fold=0",
        "baseline/seed=0/fold=0/inner=0",
        "baseline/seed=0/fold=0/inner=1",
        "baseline/seed=0/fold=1",
    ]
    split = members[2].experiment.data.split  # type: ignore[union-attr]
    assert (split.folds, split.fold, split.inner_folds, split.inner_fold) == (3, 0, 2, 1)


def test_lists_beside_each_other_are_gone_through_together() -> None:
    ablation = Ablation(baseline=EXPERIMENT, together={"model.dropout": [0.1, 0.3], "optimizer.average": [0.5, None]})
    assert [arm.name for arm in ablation.arms()[0]][1:] == ["dropout=0.1, average=0.5", "dropout=0.3, average=none"]


def test_rows_that_differ_have_names_that_differ() -> None:
    rates = [0.0010000001, 0.001, 3e-4]
    parts = [
        AdamW(learning_rate=0.1, weight_decay=0.2),
        AdamW(learning_rate=0.1, weight_decay=0.3),
        SGD(learning_rate=0.1),
    ]
    grid = {"optimizer": parts, "model.dropout": [0.25, 0.2500001]}
    ablation = Ablation(baseline=EXPERIMENT, grid=grid, together={"optimizer.learning_rate": rates})
    names = [arm.name for arm in ablation.arms()[0]]
    assert names[1:] == [
        *(f"optimizer=AdamW(weight_decay={decay}), dropout={d}" for decay in (0.2, 0.3) for d in ("0.25", "0.2500001")),
        *(f"optimizer=SGD, dropout={d}" for d in ("0.25", "0.2500001")),
        *("learning_rate=0.0010000001", "learning_rate=0.001", "learning_rate=0.0003"),
    ]


@pytest.mark.parametrize("sampler", ["sobol", "halton", "random"])
def test_trials_lie_in_their_ranges_and_are_those_of_the_seed(sampler: Any) -> None:
    ranges = {
        "optimizer.learning_rate": LogUniform(1e-4, 1e-1),
        "model.dropout": [None, 0.1],
        "batch_size": Integers(4, 7),
        "optimizer.weight_decay": Uniform(0.0, 0.1),
    }
    search = Search(ranges=ranges, trials=37, sampler=sampler, seed=1)
    trials = search.draw()
    assert len(trials) == 37 and trials == search.draw() != dataclasses.replace(search, seed=2).draw()
    rates = np.log10([trial["optimizer.learning_rate"] for trial in trials])
    assert rates.min() >= -4 and rates.max() <= -1 and abs(np.median(rates) + 2.5) < 0.5
    assert {trial["model.dropout"] for trial in trials} == {None, 0.1}
    assert {trial["batch_size"] for trial in trials} == {4, 5, 6, 7}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"variants": {"a": {"model.dropuot": 0.1}}}, r"variant 'a': .*no field 'dropuot'.*Did you mean 'dropout'"),
        ({"variants": {"a": {"model.dropout": 1.5}}}, r"variant 'a': model\.dropout"),
        (
            {"variants": {"a": {"model.dropout": 0.1}, "b": {"model.dropout": 0.1}}},
            r"'a' and 'b' are the same experiment \(model\.dropout=0\.1\)",
        ),
        *(({field: {}}, f"{field}: it is empty, .* or leave it out") for field in ("variants", "grid", "together")),
        ({"variants": {"baseline": {}}}, "'baseline' cannot be a name"),
        ({"grid": {"model.dropout": []}}, r"grid: model\.dropout has no values"),
        ({"together": {"model.dropout": []}}, r"together: model\.dropout has no values"),
        ({"grid": {"model.dropout": 0.1}}, r"grid: model\.dropout is 0\.1; give a list of values"),
        ({"together": {"model.dropout": "0.1"}}, r"together: model\.dropout is '0\.1'; give a list of values"),
        ({"grid": {"model.dropout": {0.1, 0.2}}}, r"grid: model\.dropout is \{.*give a list"),
        ({"grid": ["model.dropout"]}, r"grid: a dictionary such as .* is needed; \['model\.dropout'\] was given"),
        ({"grid": {3: [1]}}, "grid: 3 is no text"),
        ({"variants": [{"model.dropout": None}]}, "variants: a dictionary such as .* is needed; "),
        ({"variants": {"a": None}}, "variant 'a': a dictionary of edits such as .* is needed; None was given"),
        ({"variants": {"a": {3: 1}}}, "variant 'a': a dictionary of edits"),
        ({"variants": {CHOSEN: {"model.dropout": None}}}, f"'{CHOSEN}' cannot be a name"),
        ({"variants": {"batch_size=8": {"batch_size": 9}}, "grid": {"batch_size": [8]}}, "give the variant another"),
        ({"search": {"batch_size": Integers(4, 8)}}, "search: a Search, such as"),
        ({"search": of(Search, ranges={"batch_size": 8}, trials=3)}, r"search\.ranges: batch_size is 8; give a range"),
        (
            {"search": Search(ranges={"batch_size": of(Integers, low=4, high=8.5)}, trials=3)},
            "has the limit 8.5; a whole",
        ),
        ({"search": of(Search, ranges={"batch_size": Integers(4, 8)}, trials=2.5)}, "trials: a whole number"),
        ({"together": {"model.dropout": [0.1], "batch_size": [4, 8]}}, r"model\.dropout has 1, batch_size has 2"),
        ({"search": Search(ranges={"batch_size": Integers(8, 4)}, trials=3)}, r"batch_size goes from 8 to 4"),
        ({"search": Search(ranges={"model.dropout": LogUniform(0.0, 1.0)}, trials=3)}, "must be positive"),
        ({"seeds": 0}, "seeds: at least one"),
        ({"seeds": 8.0}, r"seeds: a whole number, or a list .*; 8\.0 was given"),
        ({"seeds": "8"}, "seeds: a whole number, or a list .*; '8' was given"),
        ({"seeds": None}, "seeds: a whole number, or a list .*; None was given"),
        ({"seeds": True}, "seeds: a whole number, or a list .*; True was given"),
        ({"seeds": (1, 1)}, "seeds: different whole numbers"),
        ({"folds": 1}, "folds: a whole number of at least 2"),
        ({"folds": "5"}, "folds: a whole number of at least 2 is needed, '5' was given"),
        ({"folds": 2.5}, r"folds: a whole number of at least 2 is needed, 2\.5 was given"),
        ({"folds": 3, "inner_folds": "3"}, "inner_folds: a whole number of at least 2 is needed, '3' was given"),
        ({"inner_folds": 3, "variants": VARIANTS}, "inner_folds: .* Set folds as well"),
        ({"folds": 3, "inner_folds": 1, "variants": VARIANTS}, "inner_folds: a whole number of at least 2"),
        ({"folds": 3, "inner_folds": 3}, "inner_folds: there is nothing to choose from"),
    ],
)
def test_mistakes_are_refused_before_anything_trains(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        of(Ablation, baseline=EXPERIMENT, **given).members()


EXPERIMENT_FILE = """
from research.data import SyntheticTable, TableData
from research.experiment import Experiment
from research.losses import CrossEntropy
from research.models import MLP

experiment = Experiment(
    data=TableData(source=SyntheticTable(patients=50)), model=MLP(widths=(4,)), loss=CrossEntropy(), epochs=1
)
"""


def test_alternatives_on_the_command_line_become_a_grid(tmp_path: Path) -> None:
    file = tmp_path / "small.py"
    file.write_text(EXPERIMENT_FILE)
    texts = ["optimizer.learning_rate=1e-3,1e-2", "model.widths=(4,),(4,4)", "batch_size=16"]
    ablation, source = load_ablation(file, texts)
    assert source is None and ablation.baseline.batch_size == 16
    assert ablation.arms()[1] == ("learning_rate=0.001, widths=(4,) is the baseline itself",)
    (note,) = load_ablation(file, ["batch_size=16"])[0].arms()[1]
    assert "only the baseline: nothing is compared; give variants, or path=value,value" in note
    assert ablation.grid == {"optimizer.learning_rate": [1e-3, 1e-2], "model.widths": [(4,), (4, 4)]}
    assert load_ablation(file, ["model.widths=8,8"])[0].baseline.model.widths == (8, 8)  # type: ignore[union-attr]
    both = load_ablation(file, ["model.dropout=0.1,0.2", "model.dropout=0.3"])[0]
    assert both.grid == {"model.dropout": [0.1, 0.2]} and both.baseline.model.dropout == 0.3  # type: ignore[union-attr]
    for twice, advice in ((["0.2,0.3", "0.4,0.5"], "into one list"), (["0.2", "0.2"], "Leave one of them out")):
        said = (
            rf"model\.dropout: given twice, as model\.dropout={twice[0]} and as model\.dropout={twice[1]}\. .*{advice}"
        )
        with pytest.raises(UserError, match=said):
            load_ablation(file, [f"model.dropout={values}" for values in twice])
    assert options(ablation, "3", None).seed_numbers() == (0, 1, 2)
    assert options(ablation, "0,5", 4).seed_numbers() == (0, 5)
    with pytest.raises(UserError, match="--seeds"):
        options(ablation, "many", None)
    for nothing in ("", ","):
        with pytest.raises(UserError, match=f"--seeds: a number, .*'{nothing}' was given"):
            options(ablation, nothing, None)
    with pytest.raises(UserError, match="no field"):
        load_ablation(file, ["model.widhts=1,2"])


def test_a_file_may_assign_an_ablation(tmp_path: Path) -> None:
    file = tmp_path / "study.py"
    file.write_text(
        EXPERIMENT_FILE
        + "from research.ablation import Ablation\n"
        + "ablation = Ablation(baseline=experiment, variants={'wider': {'model.widths': (8,)}}, seeds=3)\n"
    )
    ablation, _ = load_ablation(file)
    assert [arm.name for arm in ablation.arms()[0]] == ["baseline", "wider"] and len(ablation.members()) == 6
    file.write_text(
        EXPERIMENT_FILE
        + "from research.ablation import Ablation\n"
        + "ablation = Ablation(baseline=experiment)\nobject.__setattr__(ablation, 'grid', 3)\n"
    )
    with pytest.raises(UserError, match="grid: a dictionary"):
        load_ablation(file)
    file.write_text("ablation = 3\n")
    with pytest.raises(UserError, match="an Ablation is needed"):
        load_ablation(file)
    file.write_text("nothing = 3\n")
    with pytest.raises(UserError, match="assigns nothing to 'ablation' or 'experiment'"):
        load_ablation(file)
