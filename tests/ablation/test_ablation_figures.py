"""The figures of an ablation say what its table says, name what they leave out, and are made from its directory."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from made_ablation import GRID, made_in
from tiny import EXPERIMENT

from research.ablation.ablation import Ablation
from research.ablation.design import describe_arm, describe_design, read_design
from research.ablation.figures import write_figures
from research.ablation.figures.arms import drawn_arms, ranked
from research.ablation.figures.curves import Curve, curves_of, scale_of
from research.ablation.figures.forest import MOST_ROWS, forest
from research.ablation.figures.heat_map import heat_map
from research.ablation.figures.learning import learning_curves
from research.ablation.figures.parallel import parallel
from research.ablation.figures.profiles import profiles
from research.ablation.result import AblationResult, load_result
from research.ablation.search import LogUniform, Search
from research.ablation.statistics import Analysis, Outcomes, analyse, mark_selected
from research.ablation.tables import analysis_of, rows
from research.cli import main
from research.metrics import larger_is_better


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> AblationResult:
    """An ablation of four arms and three seeds."""
    path = tmp_path_factory.mktemp("figures") / "study"
    made_in(path)
    return load_result(path)


def analysed(shifts: dict[str, float], metric: str = "rmse", seeds: int = 8, **more: float) -> Analysis:
    """An analysis of values of seeds: each variant is the baseline, moved, with some noise."""
    draw = np.random.default_rng(0)
    base = draw.normal(3, 0.1, seeds)
    noise = {name: more.get(name.replace(" ", "_"), 0.02) for name in shifts}
    found = [Outcomes("baseline", range(seeds), values={metric: base})]
    found += [
        Outcomes(name, range(seeds), values={metric: base + shift + noise[name] * draw.normal(size=seeds)})
        for name, shift in shifts.items()
    ]
    return analyse(found, None, [metric], 0)


def made(figure: Any) -> Any:
    """A figure that there must be."""
    assert figure is not None
    return figure


def saved(figure: Any, path: Path) -> Path:
    """An empty file in place of the picture, where only which there are is tested."""
    path.parent.mkdir(exist_ok=True)
    path.touch()
    return path


def texts(figure: Any) -> str:
    from matplotlib.text import Text

    return "\n".join(item.get_text() for item in figure.findobj(Text)).replace("\n", " ")


def lines(axes: Any, gid: str) -> list[Any]:
    return [line for line in axes.get_lines() if line.get_gid() == gid]


def marks(axes: Any) -> list[Any]:
    """The marks of the rows, from above."""
    kinds = ("decided", "undecided", "untested")
    return sorted((m for kind in kinds for m in lines(axes, kind)), key=lambda mark: mark.get_ydata()[0])


def test_the_forest_plot_is_the_table(trained: AblationResult) -> None:
    analysis = analysis_of(trained, ["auroc", "log_loss"])
    figure = forest(analysis, "a study")
    assert len(figure.axes) == 2 and "diamonds: not tested" in texts(figure)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == list(analysis.variants[1:])
    for axes, metric, better in zip(figure.axes, analysis.metrics, ("better →", "← better"), strict=True):
        expected = rows(analysis, metric)[1:]
        assert [mark.get_xdata()[0] for mark in marks(axes)] == [row["difference"] for row in expected]
        found = [tuple(line.get_xdata()) for line in lines(axes, "interval")]
        assert found == [(row["difference_low"], row["difference_high"]) for row in expected]
        heights = [line.get_ydata()[0] for line in lines(axes, "interval")]
        assert heights == [mark.get_ydata()[0] for mark in marks(axes)] == list(axes.get_yticks())
        assert lines(axes, "baseline")[0].get_xdata() == [0, 0]
        assert better in [text.get_text() for text in axes.texts]
        assert better.startswith("←") is not larger_is_better(metric)
    assert lines(figure.axes[1], "untested") and not lines(figure.axes[0], "untested")


def test_decided_differences_are_filled_and_undecided_ones_are_open() -> None:
    analysis = analysed({"better": -0.3, "worse": 0.3, "same": 0.0}, same=0.2)
    analysis = mark_selected(analysis, "rmse")
    assert [item.decided for item in analysis.differences] == [True, True, False]
    (axes,) = forest(analysis, "").axes
    better, worse, same = marks(axes)
    assert better.get_markerfacecolor() == better.get_color() != worse.get_color() == worse.get_markerfacecolor()
    assert same.get_markerfacecolor() == "white" and same.get_gid() == "undecided"
    assert "<0.001" in texts(axes.figure) and axes.get_yticklabels()[0].get_text() == "better *"
    assert "chosen by its value on the test data" in texts(axes.figure)


def test_of_many_variants_the_best_and_worst_are_drawn_and_the_others_counted() -> None:
    count = MOST_ROWS + 5
    shifts = {f"v{number}": 0.01 * ((7 * number) % count) for number in range(count)}
    figure = forest(analysed(shifts, v0=0.0), "")
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(shown) == MOST_ROWS and shown == [name for name in shifts if name in shown]
    assert f"20 best and the 20 worst of {count} variants by RMSE; left out between them: 5" in texts(figure)
    left_out = [shifts[name] for name in shifts if name not in shown]
    assert min(left_out) > 0.1 and max(left_out) < 0.3


def test_arms_that_went_astray_leave_room_for_the_others() -> None:
    analysis = analysed({f"v{number}": 0.01 * number for number in range(9)} | {"astray": 40.0})
    (axes,) = forest(analysis, "").axes
    assert len(marks(axes)) == 9 and axes.get_xlim()[1] < 1
    (arrow,) = lines(axes, "beyond")
    assert arrow.get_xdata()[0] == axes.get_xlim()[1] and "arrows: beyond the plot" in texts(axes.figure)
    few = forest(analysed({"v": 0.01, "astray": 40.0}), "").axes[0]
    assert len(marks(few)) == 2 and not lines(few, "beyond")


def test_one_seed_is_said_and_has_no_bands(trained: AblationResult) -> None:
    one = dataclasses.replace(trained, outcomes=tuple(o for o in trained.outcomes if o.seed == 0))
    analysis = analysis_of(one)
    figure = forest(analysis, "")
    assert "one seed: nothing is tested, intervals are of the patients alone" in texts(figure)
    assert not lines(figure.axes[0], "decided") and len(lines(figure.axes[0], "untested")) == 3
    learning = made(learning_curves(one, analysis, ""))
    assert "one seed, so there are no bands" in texts(learning)
    assert not any(axes.collections for axes in learning.axes) and profiles(analysis, "") is None


def test_lines_are_means_and_bands_t_intervals_of_what_was_logged(trained: AblationResult) -> None:
    analysis = analysis_of(trained)
    figure = made(learning_curves(trained, analysis, "a study"))
    assert [axes.get_ylabel() for axes in figure.axes] == ["AUROC, validation", "loss, train", "loss, validation"]
    (wave,) = {outcome.wave.path: outcome.wave for outcome in trained.outcomes}.values()
    log = [json.loads(line) for line in wave.curves.read_text().splitlines()]
    arm = analysis.variants[2]
    numbers = [outcome.number for outcome in trained.outcomes if outcome.arm == arm]
    assert len(numbers) == 3
    values = np.array([[record["validation/loss"][record["member"].index(n)] for n in numbers] for record in log])
    axes = figure.axes[2]
    (line,) = [line for line in axes.get_lines() if line.get_label() == arm]
    np.testing.assert_allclose(line.get_xdata(), [record["epoch"] for record in log])
    np.testing.assert_allclose(line.get_ydata(), values.mean(1))
    low, high = scipy.stats.t.interval(0.95, 2, values.mean(1), scipy.stats.sem(values, axis=1))
    band = axes.collections[2].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(low.min()) and band[:, 1].max() == pytest.approx(high.max())
    assert "mean over 3 seeds, with bands" in texts(figure)
    assert all(name in texts(figure) for name in analysis.variants)


def test_a_curve_ends_its_band_where_the_first_seed_stops() -> None:
    curve = Curve(np.arange(4.0), np.array([[1.0, 3.0], [np.nan, 2.0], [1.0, 2.0], [np.nan, 4.0]]))
    assert curve.whole == 3 and curve.mean("linear").tolist() == [2.0, 2.0, 1.5, 4.0]
    band = curve.band("linear")
    assert band is not None and len(band[0]) == 3 and band[0][0] < 1 and band[1][0] > 3
    positive = curve.band("positive")
    assert positive is not None and positive[0][0] == 0 and positive[1][0] == band[1][0]
    share, log = curve.band("share"), Curve(np.arange(1.0), np.array([[1e-3, 1e1]])).band("log")
    assert share is not None and share[0][0] == 0 and share[1][0] == 1
    assert log is not None and log[0][0] > 0 and math.sqrt(log[0][0] * log[1][0]) == pytest.approx(0.1)
    assert scale_of([curve], loss=False) == scale_of([curve], loss=True) == "positive"
    assert scale_of([Curve(np.arange(2.0), np.array([[0.9], [0.01]]))], loss=True) == "log"


def test_failed_members_are_left_out_as_in_the_table(trained: AblationResult) -> None:
    broken = tuple(
        dataclasses.replace(o, results=o.results | {"failed_step": 3}) if o.name == "baseline/seed=1" else o
        for o in trained.outcomes
    )
    some = dataclasses.replace(trained, outcomes=broken)
    analysis = analysis_of(some)
    curves, _ = curves_of(some, some.arms)
    assert curves["baseline"]["train/loss"].values.shape[1] == 2
    assert curves[some.arms[1]]["train/loss"].values.shape[1] == 3
    assert "mean over 2 to 3 seeds" in texts(learning_curves(some, analysis, ""))
    assert "2 to 3 seeds" in texts(forest(analysis, ""))


def test_of_many_arms_the_best_and_worst_have_lines() -> None:
    shifts = {f"v{number}": 0.1 * ((3 * number) % 10) for number in range(10)}
    analysis = analysed(shifts)
    looks, left_out = drawn_arms(analysis, "rmse")
    assert ranked(analysis, "rmse")[0] == "v0" and left_out.endswith("best 3 and worst 3 of 10 variants are drawn")
    assert list(looks) == ["baseline", "v0", "v3", "v4", "v6", "v7", "v9"][: len(looks)]
    styles = {(look["color"], str(look["linestyle"])) for look in looks.values()}
    dashes = {str(look["linestyle"]) for name, look in looks.items() if name != "baseline"}
    assert len(styles) == 7 and len(dashes) == 6  # told apart without colours too


def test_profiles_are_shares_of_seeds() -> None:
    analysis = analysed({"better": -0.3, "worse": 0.3})
    figure = made(profiles(analysis, ""))
    values = np.array(analysis.summary("worse", "rmse").values)
    (line,) = [line for line in figure.axes[0].get_lines() if line.get_label().startswith("worse")]
    for place, share in zip(line.get_xdata(), line.get_ydata(), strict=True):
        assert share == pytest.approx((values <= place).mean())
    assert f"worse (IQM {scipy.stats.trim_mean(values, 0.25):.3f})" in texts(figure) and "at most" in texts(figure)
    assert profiles(analysed({"better": -0.3}, seeds=4), "") is None


def designed(metric: str, missing: tuple[str, ...] = (), **parts: Any) -> tuple[Any, Analysis]:
    """The design of an ablation, and an analysis in which each arm is worse than the one before."""
    ablation = Ablation(baseline=EXPERIMENT, **parts)
    arms, _ = ablation.arms()
    plan = {"arms": [describe_arm(arm) for arm in arms], "design": describe_design(ablation)}
    shifts = {arm.name: 0.1 * n for n, arm in enumerate(arms) if n and arm.name not in missing}
    return read_design(plan), analysed(shifts, metric)


def test_the_heat_map_has_each_arm_in_its_cell(trained: AblationResult) -> None:
    grid = {"model.dropout": [0.2, 0.4], "optimizer.learning_rate": [1e-3, 2e-2, 1e-2]}
    missing = "dropout=0.4, learning_rate=0.001"
    design, analysis = designed("rmse", (missing,), grid=grid)
    figure, notes = made(heat_map(design, analysis, "a study"))
    axes, bar = figure.axes
    assert notes == () and axes.get_xlabel() == "learning_rate" and axes.get_ylabel() == "dropout"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.001", "0.01", "0.02"]
    shown = axes.images[0].get_array()
    means = {name: analysis.summary(name, "rmse").mean for name in analysis.variants}
    assert shown[0, 2] == means["baseline"] and shown[1, 1] == means["dropout=0.4, learning_rate=0.01"]
    assert np.ma.getmaskarray(shown)[1, 0] and np.ma.getmaskarray(shown).sum() == 1
    (frame,) = [patch for patch in axes.patches if patch.get_gid() == "baseline"]
    assert (frame.get_x() + frame.get_width() / 2, frame.get_y() + frame.get_height() / 2) == pytest.approx((2, 0))
    words = [text.get_text() for text in axes.texts]
    assert any(text.endswith("*") for text in words) and sum("baseline" in text for text in words) == 1
    # A loss: small values are dark.
    colours = axes.images[0].cmap(axes.images[0].norm([means["baseline"], max(means.values())]))
    assert colours[0, :3].sum() < colours[1, :3].sum() and bar.get_ylabel() == "RMSE"


def test_grids_of_three_fields_are_drawn_in_pairs_averaged_over_the_third() -> None:
    grid = {"model.dropout": [0.1, 0.4], "optimizer.weight_decay": [0.0, 0.1], "batch_size": [8, 16]}
    design, analysis = designed("auroc", grid=grid)
    figure, _ = made(heat_map(design, analysis, ""))
    assert len(figure.axes) == 4 and "over the other fields" in texts(figure)
    assert "the baseline is not on the grid" in texts(figure)
    means = [analysis.summary(f"dropout=0.1, weight_decay=0, batch_size={size}", "auroc").mean for size in (8, 16)]
    assert figure.axes[0].images[0].get_array()[0, 0] == pytest.approx(np.mean(means))
    assert heat_map(*designed("auroc", grid={"batch_size": [8, 32]}), "") is None


def test_trials_cross_each_axis_at_their_value_and_the_best_are_thick() -> None:
    ranges = {"optimizer.learning_rate": LogUniform(1e-4, 1e-1), "model.dropout": [None, 0.2, 0.4]}
    design, analysis = designed("rmse", search=Search(ranges=ranges, trials=8))
    figure, notes = made(parallel(design, analysis, ""))
    (axes,) = figure.axes
    assert notes == () and "8 trials" in texts(figure) and "↓ better" in texts(figure)
    best = ranked(analysis, "rmse")[:3]
    for arm in design.on(design.search):
        (line,) = lines(axes, arm)
        rate, dropout = (design.place(arm, axis) for axis in design.search)
        assert line.get_ydata()[0] == pytest.approx((math.log10(rate) + 4) / 3)
        assert line.get_ydata()[1] == [None, 0.2, 0.4].index(dropout) / 2
        assert (line.get_linewidth() > 2.2) is (arm in best)
    ends = {arm: lines(axes, arm)[0].get_ydata()[2] for arm in design.on(design.search)}
    assert sorted(ends, key=ends.__getitem__) == sorted(ends, key=lambda arm: analysis.summary(arm, "rmse").mean)
    assert parallel(*designed("rmse", grid=GRID), "") is None


def test_figures_are_made_again_from_the_directory_alone(
    trained: AblationResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "moved"
    shutil.copytree(trained.directory, here)
    result = load_result(here)
    (here / "figures").mkdir()
    for stale in ("parallel.png", "kept.png"):
        (here / "figures" / stale).write_bytes(b"old")
    found = write_figures(result, analysis_of(result))
    assert [path.name for path in found.paths] == ["forest.png", "learning_curves.png", "heat_map.png"]
    assert found.notes == ("profiles.png is left out: it takes 5 seeds or more.",)
    assert sorted(p.name for p in (here / "figures").iterdir()) == sorted([*(p.name for p in found.paths), "kept.png"])
    before = {path: path.read_bytes() for path in found.paths}
    for path in found.paths:
        path.unlink()
    assert main(["table", str(here), "--figures", "--format", "json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["rows"] and "figures:" in said.err
    assert main(["table", str(here), "--bootstrap", "100", "--format", "csv"]) == 0
    assert "difference_bootstrap_high" in capsys.readouterr().out
    assert main(["table", str(here), "--bootstrap", "99"]) == 2
    assert "--bootstrap: at least 100" in capsys.readouterr().err
    assert (here / "members.parquet").exists() and (here / "curves.parquet").exists()
    assert {path: path.read_bytes() for path in found.paths} == before


@pytest.mark.parametrize("wanted", [True, False])
def test_the_command_draws_unless_told_not_to(
    wanted: bool, trained: AblationResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    here = tmp_path / "study"
    shutil.copytree(trained.directory, here)
    monkeypatch.setattr("research.ablation.run.ablate", lambda *_, **__: load_result(here))
    monkeypatch.setattr("research.reporting.style.save", saved)
    file = Path(__file__).parents[2] / "experiments" / "synthetic_table_mlp.py"
    main(["ablate", str(file), "model.dropout=none,0.1", f"execution.figures={str(wanted).lower()}"])
    said = capsys.readouterr().out
    assert (here / "figures" / "forest.png").exists() is wanted is ("figures: " in said)
    assert " ".join(said.split()).count("is the baseline itself") == 1  # the note of the directory


def test_an_older_directory_lacks_the_grid_and_says_so(
    trained: AblationResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("research.reporting.style.save", saved)
    here = tmp_path / "older"
    shutil.copytree(trained.directory, here)
    plan = json.loads((here / "ablation.json").read_text())
    del plan["design"]
    (here / "ablation.json").write_text(json.dumps(plan))
    result = load_result(here)
    found = write_figures(result, analysis_of(result))
    assert [path.name for path in found.paths] == ["forest.png", "learning_curves.png"]
    assert "heat_map.png and parallel.png are left out" in found.notes[-1] and "--accept-changes" in found.notes[-1]
