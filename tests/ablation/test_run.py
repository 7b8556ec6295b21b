"""An ablation from plan to table: trained once, resumed to the bit, extended, and each member a run if one likes."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_ablation import LINEAR, bits
from tiny import EXPERIMENT, QUIET, left_behind, run

from research.ablation import extract as extraction
from research.ablation import run as runs
from research.ablation import training
from research.ablation.ablation import Ablation
from research.ablation.directory import AblationDirectory
from research.ablation.executables import compiled_programs
from research.ablation.extract import extract
from research.ablation.plan import Means
from research.ablation.result import CHOSEN, AblationResult, load_result
from research.ablation.run import ablate, plan_only
from research.ablation.tables import FORMATS, analysis_of, rows, written
from research.data import streaming
from research.errors import RunError, UserError
from research.evaluation import Predictions
from research.experiment import Parallel, StartFrom
from research.metrics import LARGER_IS_BETTER
from research.spec import replace
from research.training import start_from
from research.training.run_directory import RunDirectory, write_json

BASELINE = EXPERIMENT.replace(steps=40)
SHORT = EXPERIMENT.replace(steps=10)
"""The programs of these two are the same."""

VARIANTS = {"slower": {"optimizer.learning_rate": 1e-3}, "linear": {"model.widths": ()}}
OPTIONS: dict[str, Any] = {
    "name": "experiment",
    "execution": QUIET.replace(checkpoint_every=20),
    "strategy": "separate",
}


def ablation(**changes: Any) -> Ablation:
    return Ablation(**({"baseline": BASELINE, "variants": VARIANTS, "seeds": 2} | changes))


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans measure two updates."""
    monkeypatch.setattr("research.ablation.choice.MEASURED_SECONDS", 0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> AblationResult:
    return ablate(ablation(), ablations=tmp_path_factory.mktemp("whole"), **OPTIONS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"parallel": Parallel(data=64, tensor=16)}, r"parallel: data=64, tensor=16 was given, .* on one device"),
        ({"parallel": Parallel(mode="pmap")}, r"parallel: mode=pmap was given"),
        ({"profile": (5, 10)}, r"profile: 5,10 was given, .*research run FILE --profile 5:10"),
    ],
)
def test_what_an_ablation_would_not_do_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    options = OPTIONS | {"execution": QUIET.replace(**changes)}
    for function in (ablate, plan_only):
        with pytest.raises(UserError, match=rf"^execution\.{said}"):
            function(ablation(), ablations=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def stopped(*given: Any) -> None:
    raise KeyboardInterrupt


def left(result: AblationResult) -> dict[str, bytes]:
    """The bits that an ablation leaves, but for the time it took."""
    found = {}
    for file in sorted((result.directory / "waves").rglob("*")):
        if file.suffix == ".parquet" or file.name == "curves.jsonl":
            found[str(file.relative_to(result.directory))] = file.read_bytes()
    for outcome in result.outcomes:
        found[outcome.name] = json.dumps(outcome.results, sort_keys=True).encode()
    return found


def test_every_member_is_trained_once(whole: AblationResult, tmp_path: Path) -> None:
    assert whole.trained == 6 and len(whole.outcomes) == 6 and whole.arms == ("baseline", *VARIANTS)
    waves = {outcome.wave.path: outcome.wave for outcome in whole.outcomes}
    assert len(waves) == 2  # the linear one has a program of its own
    told = [wave.outcome()["programs"] for wave in waves.values()]
    assert [len(each["training"]) for each in told] == [1, 1] and all(each["compiled"] >= 2 for each in told)
    assert len(AblationDirectory(whole.directory).training_programs()) == 2
    again = ablate(ablation(), ablations=whole.directory.parent, **OPTIONS)
    assert again.trained == 0 and left(again) == left(whole)
    more = ablate(ablation(seeds=(0, 1, 7)), ablations=whole.directory.parent, **OPTIONS)
    assert more.trained == 3 and len(more.outcomes) == 9
    # A program reads as many orders of the rows as its members have seeds.
    assert len(AblationDirectory(whole.directory).training_programs()) == 4
    assert left(whole).items() <= left(more).items()
    members: Any = pd.read_parquet(whole.directory / "members.parquet").set_index("member")
    for outcome in more.outcomes:
        assert members["test/auroc"][outcome.name] == outcome.results["metrics"]["auroc"]
    assert members["wave"].nunique() == 4 and members["optimizer.learning_rate"]["slower/seed=7"] == 1e-3
    assert members["model.widths"]["linear/seed=7"] != members["model.widths"]["baseline/seed=7"]


def test_a_member_becomes_the_run_that_it_is(whole: AblationResult, tmp_path: Path, monkeypatch: Any) -> None:
    to, left_there = tmp_path / "made", tmp_path / ".made.extracting" / "checkpoints" / "half"
    left_there.mkdir(parents=True)
    whole_run, there = extraction.run_in, []

    def noted(*arguments: Any, **options: Any) -> Any:
        there.append(to.exists() or left_there.exists())
        return whole_run(*arguments, **options)

    monkeypatch.setattr(extraction, "run_in", noted)
    made = extract(whole.directory, "slower/seed=1", to)
    assert made.directory == to and there == [False] and [path.name for path in tmp_path.iterdir()] == ["made"]
    own = run(replace(BASELINE, VARIANTS["slower"]), tmp_path, seed=1)
    assert left_behind(made.directory) == left_behind(own.directory)
    value = next(o for o in whole.outcomes if o.name == "slower/seed=1").results["metrics"]["auroc"]
    assert value == pytest.approx(own.metrics["auroc"].value)
    with pytest.raises(UserError, match=r"no member 'slower/seed=9'.*Did you mean"):
        extract(whole.directory, "slower/seed=9", tmp_path / "other")
    with pytest.raises(UserError, match="exists already"):
        extract(whole.directory, "slower/seed=1", tmp_path / "made")


def test_interrupted_and_resumed_it_leaves_the_same_bits(
    whole: AblationResult, tmp_path: Path, monkeypatch: Any
) -> None:
    advance: Callable[..., Any] = training.GroupProgram.advance
    calls = 0

    def failing(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in (6, 10):  # in the second wave, before its first checkpoint and after it
            raise KeyboardInterrupt
        return advance(*arguments)

    monkeypatch.setattr(training.GroupProgram, "advance", failing)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            ablate(ablation(), ablations=tmp_path, **OPTIONS)
    with pytest.raises(UserError, match="members are not trained yet"):
        load_result(tmp_path / "experiment")
    resumed = ablate(ablation(), ablations=tmp_path, **OPTIONS)
    first = load_result(whole.directory)
    wanted = {name: bits for name, bits in left(first).items() if "seed=7" not in name}
    assert {name: bits for name, bits in left(resumed).items() if name in wanted}.items() <= wanted.items()
    assert {outcome.name for outcome in resumed.outcomes} <= wanted.keys()


def test_rows_from_disk_are_read_once_for_all_variants_and_give_the_same_bits(
    whole: AblationResult, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(streaming, "CHUNK_UPDATES", 7)
    read, chunks = streaming._ReadChunk.__call__, []
    advance: Callable[..., Any] = training.GroupProgram.advance

    def noted(self: Any, chunk: int) -> Any:
        chunks.append((int(chunk), [reading.seed for reading in self.reading.readings]))
        return read(self, chunk)

    def failing(self: Any, carry: Any, *arguments: Any) -> Any:
        if int(carry[0].step.max()) == 30:  # beyond the first checkpoint
            raise KeyboardInterrupt
        return advance(self, carry, *arguments)

    members = ablation(variants={"slower": VARIANTS["slower"]})
    options = OPTIONS | {"execution": OPTIONS["execution"].replace(feed="streaming")}
    (planned,), _ = plan_only(members, ablations=tmp_path, **options)
    assert planned.compiled > 0 and planned.training > 0
    before = compiled_programs()
    with monkeypatch.context() as context:
        context.setattr(training.GroupProgram, "advance", failing)
        with pytest.raises(KeyboardInterrupt):
            ablate(members, ablations=tmp_path, **options)
    with monkeypatch.context() as context:
        context.setattr(streaming._ReadChunk, "__call__", noted)
        result = ablate(members, ablations=tmp_path, **options)
    assert compiled_programs() == before
    assert sorted(chunks) == [(chunk, [0, 1]) for chunk in range(2, 6)]
    found, wanted = bits(result), bits(whole)
    assert all(found[outcome.name] == wanted[outcome.name] for outcome in result.outcomes)
    made = extract(result.directory, "slower/seed=1", tmp_path / "made")
    said, told = made.predictions["test"], result.predictions()["slower/seed=1"]
    assert isinstance(said, Predictions) and isinstance(told, Predictions)
    assert said.prediction.tobytes() == told.prediction.tobytes()
    assert RunDirectory(made.directory).execution().feed == "streaming"


def test_a_wave_reads_one_data_from_disk(tmp_path: Path, monkeypatch: Any) -> None:
    folds = Ablation(baseline=LINEAR, seeds=2, folds=2)
    from_disk: dict[str, Any] = OPTIONS | {"execution": QUIET.replace(feed="streaming")}
    monkeypatch.setattr(runs, "Means", functools.partial(Means, compiles=False))
    (planned,), _ = plan_only(folds, ablations=tmp_path, **from_disk)
    waves = [[(ready.member.fold, ready.member.seed) for ready in wave] for wave in planned.waves]
    assert waves == [[(0, 0), (0, 1)], [(1, 0), (1, 1)]] and planned.memory[0].data > 0
    monkeypatch.setattr(runs, "run_wave", stopped)
    with pytest.raises(KeyboardInterrupt):
        ablate(folds, ablations=tmp_path, **OPTIONS)
    with pytest.raises(UserError, match=r"the data of several folds.*execution\.feed=resident, or .*--fresh"):
        plan_only(folds, ablations=tmp_path, **from_disk)


def test_members_begin_with_the_weights_that_runs_begin_with(tmp_path: Path, monkeypatch: Any) -> None:
    first = run(LINEAR, tmp_path / "first")
    start = StartFrom(run=str(first.directory))
    baseline = replace(LINEAR, {"steps": 2, "evaluation.every_steps": 2, "start_from": start})
    own = run(baseline, tmp_path / "own", seed=1)
    members = Ablation(baseline=baseline, seeds=(1, 2))
    source, read = start_from._source, []
    monkeypatch.setattr(start_from, "_source", lambda start: read.append(start) or source(start))
    said = ablate(members, ablations=tmp_path, **OPTIONS).predictions()["baseline/seed=1"]
    assert len(read) == 2  # for the hash, and for all members
    wanted = own.predictions["test"]
    assert isinstance(said, Predictions) and isinstance(wanted, Predictions)
    assert said.prediction.tobytes() == wanted.prediction.tobytes()
    shutil.rmtree(first.directory / "checkpoints")
    shutil.copytree(own.directory / "checkpoints", first.directory / "checkpoints")
    with pytest.raises(UserError, match=r"baseline/seed=1 was trained on other data \(fingerprint \w+ from \w+, now"):
        ablate(members, ablations=tmp_path, **OPTIONS)


def test_a_member_that_fails_disturbs_no_other(whole: AblationResult, tmp_path: Path) -> None:
    wild = {"wild": {"optimizer.learning_rate": 1e38}}
    result = ablate(ablation(variants=wild, seeds=1), ablations=tmp_path, **OPTIONS)
    baseline, failed = result.outcomes
    assert failed.failed and not baseline.failed and "wild/seed=0" in result.notes[-1]
    assert baseline.results == whole.outcomes[0].results
    with pytest.raises(UserError, match="was not finite, so there is no model"):
        extract(result.directory, "wild/seed=0", tmp_path / "made")
    analysis = analysis_of(result)
    assert analysis.variants == ("baseline",) and analysis.split == "test"
    assert [note for note in analysis.notes if "wild/seed=0" in note] == [result.notes[-1]]
    assert not any("stopped early" in note for note in analysis.notes)
    stopped = dataclasses.replace(baseline, results=baseline.results | {"stopped_early": True})
    early = analysis_of(dataclasses.replace(result, outcomes=(stopped, failed)))
    assert "1 of 2 members stopped early" in early.notes
    alone = dataclasses.replace(result, arms=("wild",), outcomes=(failed,))
    with pytest.raises(RunError, match="wild: no loss was finite"):
        analysis_of(alone)


def test_results_of_other_code_are_named_and_not_used(whole: AblationResult, tmp_path: Path, monkeypatch: Any) -> None:
    from research.ablation import run as module

    code_hash = module.code_hash

    def other(experiment: Any) -> Any:
        """As where a class that a linear model is made of has changed, which the baseline does not use."""
        return code_hash(experiment) if experiment.model.widths else ("other", ())

    monkeypatch.setattr(module, "code_hash", other)
    for call in (ablate, plan_only):
        with pytest.raises(UserError, match=r"linear/seed=0, were trained by other code.*--fresh.*--accept"):
            call(ablation(), ablations=whole.directory.parent, **OPTIONS)
    assert ablate(ablation(), ablations=whole.directory.parent, accept_changes=True, **OPTIONS).trained == 0
    shutil.copytree(whole.directory, tmp_path / "experiment")
    dropped = ablation(variants={"slower": VARIANTS["slower"]})
    assert ablate(dropped, ablations=tmp_path, **OPTIONS).trained == 0


def test_the_plan_says_what_is_left(whole: AblationResult, tmp_path: Path) -> None:
    planned, there = plan_only(ablation(seeds=(0, 1, 11)), ablations=whole.directory.parent, **OPTIONS)
    assert there == 6 and sorted(len(each.left) for each in planned) == [1, 2]
    assert not (tmp_path / "experiment").exists()
    # What is planned is compiled, and is what trains: these two groups have been trained in this process.
    before = compiled_programs()
    anew, _ = plan_only(ablation(), ablations=whole.directory.parent, fresh=True, **OPTIONS)
    assert compiled_programs() == before and all(each.compiled > 0 and each.training > 0 for each in anew)
    with pytest.raises(UserError, match="vmap does not give the bits"):
        plan_only(ablation(), ablations=tmp_path, strategy="vmap", exact=True)


def test_the_table_has_every_variant_in_every_format(whole: AblationResult) -> None:
    analysis = analysis_of(load_result(whole.directory), ["auroc", "accuracy"])
    assert analysis.metrics == ("auroc", "accuracy")
    lines = rows(analysis, "auroc")
    assert [row["variant"] for row in lines] == ["baseline", *VARIANTS] and lines[0]["difference"] is None
    for row in lines[1:]:
        assert row["difference"] == pytest.approx(row["mean"] - lines[0]["mean"])
    for form in FORMATS:
        text = written(analysis, form)
        assert all(name in text for name in VARIANTS)
    assert json.loads(written(analysis, "json"))["rows"][0]["difference"] is None
    with pytest.raises(UserError, match="--format"):
        written(analysis, "word")


def test_the_directory_of_another_ablation_is_left_alone(whole: AblationResult, tmp_path: Path) -> None:
    before = left(whole)
    other = replace(BASELINE, {"data.source.patients": 120, "batch_size": 8})
    for call in (ablate, plan_only):
        with pytest.raises(
            UserError, match=r"another experiment is here .*batch_size 16 there and 8 now.*--ablations DIR"
        ):
            call(ablation(baseline=other), ablations=whole.directory.parent, **OPTIONS)
    assert left(load_result(whole.directory)) == before
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"not an ablation directory, for it holds thesis\.tex"):
        ablate(ablation(), ablations=tmp_path, **OPTIONS)
    assert [path.name for path in (tmp_path / "experiment").iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match=r"ablation\.json is missing"):
        load_result(tmp_path)
    with pytest.raises(UserError, match=r"there is no such folder"):
        load_result(tmp_path / "nowhere")


def test_what_is_refused_changes_nothing(whole: AblationResult, tmp_path: Path, monkeypatch: Any) -> None:
    shutil.copytree(whole.directory, tmp_path / "experiment")
    more = ablation(seeds=(0, 1, 12))
    for call in (ablate, plan_only):
        with pytest.raises(UserError, match=r"'vmpa' is not known.*Did you mean 'vmap'"):
            call(ablation(), ablations=tmp_path, **OPTIONS | {"strategy": "vmpa"})
    monkeypatch.setattr("research.ablation.memory.free", lambda devices: 1000)
    for fresh in (False, True):
        with pytest.raises(UserError, match="one member needs"):
            ablate(more, ablations=tmp_path, fresh=fresh, **OPTIONS)
    again = load_result(tmp_path / "experiment")
    assert len(again.outcomes) == len(load_result(whole.directory).outcomes) and left(again) == left(whole)


def test_what_is_not_exact_is_not_taken_for_it(whole: AblationResult, tmp_path: Path) -> None:
    shutil.copytree(whole.directory, tmp_path / "experiment")
    wave = load_result(tmp_path / "experiment").outcomes[0].wave
    write_json(wave.path / "wave.json", wave.about | {"way": {"strategy": "vmap", "replicas": 1}})
    for finished in (True, False):
        if not finished:
            wave.results.unlink()
        for call in (ablate, plan_only):
            with pytest.raises(UserError, match=r"trained by vmap, which does not give the bits.*--exact.*--fresh"):
                call(ablation(), ablations=tmp_path, exact=True, **OPTIONS)


def test_fresh_sets_aside_what_cannot_be_read(whole: AblationResult, tmp_path: Path, monkeypatch: Any) -> None:
    shutil.copytree(whole.directory, tmp_path / "experiment")
    here = AblationDirectory(tmp_path / "experiment")
    damaged = [here.waves()[0].path / "wave.json", here.plan]
    for path in damaged:
        path.write_text("{")
        with pytest.raises(UserError, match=r"--fresh"):
            ablate(ablation(), ablations=tmp_path, **OPTIONS)
    monkeypatch.setattr("research.ablation.run.run_wave", stopped)
    with pytest.raises(KeyboardInterrupt):
        ablate(ablation(), ablations=tmp_path, fresh=True, **OPTIONS)
    assert len(here.waves()) == 2 and len(here.read_plan()["members"]) == 6
    assert {"waves.old1", "ablation.json.old1", "members.parquet"} <= {path.name for path in here.path.iterdir()}


def test_more_folds_than_patients_of_the_rarest_class_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"baseline/seed=0/fold=0: class .* has \d+ patients; at least 60 .* fewer folds"
    ):
        ablate(Ablation(baseline=BASELINE, seeds=1, folds=60), ablations=tmp_path, **OPTIONS)
    assert not list(tmp_path.iterdir())


def test_a_member_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("research.ablation.memory.free", lambda devices: 10_000)
    with pytest.raises(UserError, match=r"baseline/seed=0: one member needs .* MiB .* its state.* 0\.0 MiB are there"):
        ablate(ablation(), ablations=tmp_path, **OPTIONS)


def test_what_a_variant_does_decides_its_code_and_a_member_is_found_by_it(tmp_path: Path) -> None:
    options = OPTIONS | {"execution": OPTIONS["execution"].replace(lowerings="reference")}

    def called(name: str, rate: float) -> AblationResult:
        variants = {name: {"optimizer.learning_rate": rate}}
        return ablate(ablation(baseline=SHORT, variants=variants, seeds=1), ablations=tmp_path, **options)

    first, second, third = called("v", 1e-3), called("v", 4e-3), called("w", 1e-3)
    assert (first.trained, second.trained, third.trained) == (2, 1, 0)
    made = extract(third.directory, "w/seed=0", tmp_path / "made")
    assert made.experiment.optimizer.learning_rate == 1e-3  # type: ignore[attr-defined]
    assert RunDirectory(made.directory).execution().lowerings == "reference"
    with pytest.raises(UserError, match=r"no member 'v/seed=0'.*such as 'baseline/seed=0'"):
        extract(third.directory, "v/seed=0", tmp_path / "other")


def test_what_is_left_of_an_interrupted_wave_is_trained_once(tmp_path: Path, monkeypatch: Any) -> None:
    with monkeypatch.context() as context:
        context.setattr(runs, "run_wave", stopped)
        with pytest.raises(KeyboardInterrupt):
            ablate(Ablation(baseline=SHORT, seeds=4), ablations=tmp_path, **OPTIONS)
    planned, there = plan_only(Ablation(baseline=SHORT, seeds=4), ablations=tmp_path, **OPTIONS)
    assert there == 0 and len(planned[0].left) == 4
    assert ablate(Ablation(baseline=SHORT, seeds=2), ablations=tmp_path, **OPTIONS).trained == 2
    assert ablate(Ablation(baseline=SHORT, seeds=4), ablations=tmp_path, **OPTIONS).trained == 2
    assert ablate(Ablation(baseline=SHORT, seeds=4), ablations=tmp_path, **OPTIONS).trained == 0


def test_a_wave_goes_on_with_the_lowerings_that_it_began_with(tmp_path: Path, monkeypatch: Any) -> None:
    reference = OPTIONS | {"execution": OPTIONS["execution"].replace(lowerings="reference")}
    seen = []

    def noted(wave: Any, members: Any, outline: Any, *rest: Any) -> None:
        seen.append(outline.lowerings)
        run_wave(wave, members, outline, *rest)

    run_wave = runs.run_wave
    with monkeypatch.context() as context:
        context.setattr(runs, "run_wave", stopped)
        with pytest.raises(KeyboardInterrupt):
            ablate(Ablation(baseline=SHORT, seeds=1), ablations=tmp_path, **reference)
    monkeypatch.setattr(runs, "run_wave", noted)
    ablate(Ablation(baseline=SHORT, seeds=1), ablations=tmp_path, **OPTIONS)
    ablate(Ablation(baseline=SHORT, seeds=2), ablations=tmp_path, **OPTIONS)
    assert seen == ["reference", "fast"], "what is begun later is trained as is asked then"


def test_a_last_update_that_spoils_the_weights_spoils_no_other_member(tmp_path: Path) -> None:
    baseline = replace(LINEAR, {"steps": 1, "evaluation.every_steps": 1})
    wild = {"wild": {"optimizer.learning_rate": 3e38, "optimizer.weight_decay": 1000.0}}
    result = ablate(ablation(baseline=baseline, variants=wild, seeds=1), ablations=tmp_path, **OPTIONS)
    first, failed = result.outcomes
    assert not first.failed and failed.failed and first.results["metrics"] and not failed.results["metrics"]


def test_arms_with_other_test_rows_are_refused_before_anything_trains(tmp_path: Path) -> None:
    variants = {"split": {"data.split.seed": 5}}
    with pytest.raises(UserError, match="baseline and split: they have other test rows"):
        ablate(ablation(variants=variants, seeds=1), ablations=tmp_path, **OPTIONS)
    assert not list(tmp_path.iterdir())


def test_what_inner_folds_choose_is_scored_on_the_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worse = {"frozen": {"optimizer.learning_rate": 1e-9}}
    nested = ablation(baseline=LINEAR.replace(steps=10), variants=worse, seeds=1, folds=2, inner_folds=2)
    result = ablate(nested, ablations=tmp_path, **OPTIONS)
    assert result.trained == 2 * 2 * 3 and len(result.outcomes) == 4 and len(result.inner) == 8
    chosen = result.chosen("auroc")
    for fold, arm in chosen.items():
        means = {
            name: np.mean([o.results["metrics"]["auroc"] for o in result.inner if (o.arm, o.fold) == (name, fold)])
            for name in result.arms
        }
        assert means[arm] == max(means.values())
    analysis = analysis_of(result, ["auroc"])
    each = {(o.arm, o.fold): o.results["metrics"]["auroc"] for o in result.outcomes}
    assert analysis.summary(CHOSEN, "auroc").mean == pytest.approx(np.mean([each[chosen[f], f] for f in (0, 1)]))
    assert any("chosen in inner folds by auroc" in note for note in analysis.notes)
    (first, *others) = sorted(result.inner, key=lambda outcome: (outcome.arm, outcome.fold) != (chosen[0], 0))
    failed = dataclasses.replace(first, results=first.results | {"failed_step": 1})
    spoilt = dataclasses.replace(result, inner=(failed, *others))
    assert spoilt.chosen("auroc")[0] != chosen[0]
    assert analysis_of(result, ["auroc"], best=True).selected in result.arms  # and not what was chosen of them
    with pytest.raises(UserError, match=r"'aurok' is not among those .* Did you mean 'auroc'\? Name another .*brier"):
        result.chosen("aurok")
    monkeypatch.delitem(LARGER_IS_BETTER, "auroc")
    with pytest.raises(UserError, match=r"'auroc' cannot choose .* not known whether a larger one .* Name .*brier"):
        result.chosen("auroc")
    undirected = analysis_of(result, ["auroc"])
    assert undirected.variants == result.arms and f"no row for what is {CHOSEN}" in undirected.notes[-1]
