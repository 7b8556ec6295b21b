"""Drawn chest films: the same each time, a known best AUROC, and nothing but the opacity that tells of the label."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from research.data.catalog import synthetic_xray
from research.data.catalog.synthetic_xray import ANATOMY, FILM, SyntheticXray
from research.data.catalog.xray_phantom import REACH, Acquisition, Anatomy, opacity_place, opacity_radius
from research.data.images import Images

SMALL = SyntheticXray(patients=40, films=3, size=48, seed=5)


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    """Films of `SMALL`, ``[120, S, S]``."""
    return _pictures(SMALL.load())


@pytest.fixture(scope="module")
def control() -> np.ndarray:
    """The same films without the opacity."""
    return _pictures(SMALL.replace(opacity=False).load())


def _pictures(images: Images) -> np.ndarray:
    return np.stack([images.read(index)[:, :, 0] for index in range(len(images))]).astype(np.float64)


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def _place(source: SyntheticXray, index: int) -> tuple[float, float, float, float]:
    """Row and column of the opacity, where the same distance from the midline is in the other lung, and zoom."""
    anatomy = Anatomy.draw(np.random.default_rng((ANATOMY, index // source.films, source.seed)))
    film = Acquisition.draw(np.random.default_rng((FILM, index, source.seed)))
    row, column = opacity_place(anatomy, film, source.size)
    middle = (film.right + 1) * source.size / 2 - 0.5
    return row, column, 2 * middle - column, film.zoom


def test_films_are_the_same_in_any_order_in_threads_and_in_other_processes() -> None:
    images, again = SMALL.load(), pickle.loads(pickle.dumps(SMALL.load().read))
    assert images.shape == (48, 48, 1)
    assert images.read(0).shape == images.shape and images.read(0).dtype == np.uint8
    one_by_one = [images.read(index) for index in range(20)]
    order = np.random.default_rng(0).permutation(20).tolist()
    with ThreadPoolExecutor(4) as threads:
        shuffled = list(threads.map(again, order))
    for index, film in zip(order, shuffled, strict=True):
        assert (film == one_by_one[index]).all()
    assert len({film.tobytes() for film in one_by_one}) == 20
    for index in (-1, len(images)):
        with pytest.raises(IndexError):
            images.read(index)


def test_more_patients_leave_the_first_ones_as_they_were() -> None:
    few, many = SMALL.load(), SMALL.replace(patients=60).load()
    assert (many.targets[: len(few)] == few.targets).all() and len(many) == 180
    assert (many.read(7) == few.read(7)).all()
    other = SMALL.replace(seed=6).load()
    assert (other.targets != few.targets).any() and (other.read(7) != few.read(7)).any()
    assert len({few.signature, many.signature, other.signature}) == 3
    assert few.signature == SMALL.load().signature


def test_loading_draws_no_film(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a film was drawn")

    monkeypatch.setattr(synthetic_xray, "draw_film", refuse)
    images = SMALL.load()
    with pytest.raises(AssertionError, match="a film was drawn"):
        images.read(0)


@pytest.mark.parametrize(("strength", "films"), [(1.0, 1), (0.4, 1), (1.0, 3)])
def test_bayes_auroc_is_the_auroc_of_the_true_risk(strength: float, films: int) -> None:
    source = SyntheticXray(strength=strength, films=films, patients=40_000 // films)
    samples = [source.replace(seed=seed) for seed in range(4)]
    targets = [sample.load().targets for sample in samples]
    estimates = [roc_auc_score(target, sample.risk()) for target, sample in zip(targets, samples, strict=True)]
    error = np.std(estimates, ddof=1) / np.sqrt(len(estimates))
    assert error < 0.0015
    assert abs(source.bayes_auroc() - np.mean(estimates)) < 4 * error + 0.0005
    assert np.mean(targets) == pytest.approx(np.mean([sample.risk() for sample in samples]), abs=0.004)


def test_default_is_hard_but_not_hopeless_and_balanced() -> None:
    assert SyntheticXray().bayes_auroc() == pytest.approx(0.90, abs=0.005)
    assert 0.4 < SyntheticXray().load().targets.mean() < 0.5


@pytest.mark.parametrize("source", [SMALL.replace(opacity=False), SMALL.replace(signal=False)])
def test_controls_are_at_one_half(source: SyntheticXray) -> None:
    assert source.bayes_auroc() == 0.5
    many = source.replace(patients=20_000)
    if not source.signal:
        assert len(set(many.risk())) == 1
        assert abs(float(roc_auc_score(many.load().targets, many.severity())) - 0.5) < 0.01


def test_strength_zero_is_one_half() -> None:
    assert SMALL.replace(strength=0.0).bayes_auroc() == pytest.approx(0.5, abs=1e-9)


def test_severity_is_shared_within_patients_and_spread_alike_on_every_film() -> None:
    severity = SyntheticXray(patients=20_000, films=2).severity().reshape(-1, 2)
    assert 0.5 < _rank_correlation(severity[:, 0], severity[:, 1]) < 0.65
    for film in severity.T:
        assert np.mean(film == 0) == pytest.approx(0.3, abs=0.015)
        assert np.quantile(film, [0.475, 0.65, 0.825]) == pytest.approx([0.25, 0.5, 0.75], abs=0.02)


def test_patients_are_known_and_recognisable(control: np.ndarray) -> None:
    images = SMALL.load()
    assert images.patient is not None and images.names is not None
    assert np.unique(images.patient, return_counts=True)[1].tolist() == [3] * 40
    assert len(set(images.names)) == 120 and images.names[4] == "p01 film 2"
    same = np.abs(control[0::3] - control[1::3]).mean()
    different = np.abs(control[0::3] - np.roll(control[1::3], 1, axis=0)).mean()
    assert same < 0.9 * different


def test_only_the_opacity_differs_from_the_control(drawn: np.ndarray, control: np.ndarray) -> None:
    images, without, severity = SMALL.load(), SMALL.replace(opacity=False).load(), SMALL.severity()
    assert (images.targets == without.targets).all() and images.signature != without.signature
    rows, columns = np.mgrid[: SMALL.size, : SMALL.size]
    change = drawn - control
    assert (change >= 0).all()
    for index in range(len(drawn)):
        row, column, _, zoom = _place(SMALL, index)
        reach = opacity_radius(float(severity[index])) * REACH * zoom * SMALL.size / 2
        outside = (rows - row) ** 2 + (columns - column) ** 2 > (reach + 0.1) ** 2
        assert not change[index][outside].any()
    assert _rank_correlation(change.sum((1, 2)), severity) > 0.95
    assert change.max((1, 2))[severity > 0.1].min() > 10


def test_severity_can_be_read_from_one_film(drawn: np.ndarray) -> None:
    severity = SMALL.severity()
    rows, columns = np.mgrid[: SMALL.size, : SMALL.size]
    seen = []
    for index, picture in enumerate(drawn):
        row, column, mirrored, _ = _place(SMALL, index)
        near, far = ((rows - row) ** 2 + (columns - c) ** 2 < 5**2 for c in (column, mirrored))
        seen.append(picture[near].mean() - picture[far].mean())
    assert np.corrcoef(seen, severity)[0, 1] > 0.9


def test_pixels_do_not_know_the_label(drawn: np.ndarray) -> None:
    # Other labels, the same severity: not one pixel differs.
    other = SMALL.replace(signal=False).load()
    changed = np.flatnonzero(SMALL.load().targets != other.targets)
    assert len(changed) > 20
    for index in changed:
        assert (other.read(int(index))[:, :, 0] == drawn[index]).all()


def test_a_model_learns_from_the_opacity_and_nothing_from_the_control() -> None:
    source = SyntheticXray(patients=500, films=1, size=32, seed=1)
    scores = []
    for opacity in (True, False):
        images = source.replace(opacity=opacity).load()
        pooled = _pictures(images).reshape(-1, 8, 4, 8, 4).mean((2, 4)).reshape(len(images), -1)
        inputs = (pooled - pooled[:250].mean(0)) / (pooled[:250].std(0) + 1)
        model = Ridge(alpha=30).fit(inputs[:250], images.targets[:250])
        scores.append(roc_auc_score(images.targets[250:], model.predict(inputs[250:])))
    assert scores[0] > 0.75
    assert abs(scores[1] - 0.5) < 0.1
