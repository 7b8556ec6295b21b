"""The metrics that are reported for each kind of task, as one function of example weights.

A `Measured` holds predictions in the form the metrics need; called with weights ``[..., N]`` it gives every metric,
so that the point estimate (all weights 1) and the bootstrap (counts) come from the same lines.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Set
from typing import Any

import numpy as np
from jaxtyping import Float

from research import metrics
from research.evaluation import delong, intervals
from research.evaluation.intervals import Interval
from research.evaluation.predictions import Predictions
from research.evaluation.sepsis import gains

DECISION = 0.5
"""Threshold of accuracy in two classes: the likelier class."""


Lazy = dict[str, Callable[[], Any]]
"""Metrics by name, computed when called: a report bootstraps only those that have no interval in closed form."""


@dataclasses.dataclass(frozen=True)
class Share:
    """A metric that is a proportion of rows, or (``f1``) a function of one.

    Attributes:
        success: rows that count in favour, ``[N]``.
        among: rows that count at all, ``[N]``.
        f1: whether the metric is 2 s / (1 + s) of the share s: F1 is this of the share of hits among rows that are
            positive or called so, which is a proportion of independent rows.
    """

    success: np.ndarray
    among: np.ndarray
    f1: bool = False

    def interval(self, unit: np.ndarray, unit_name: str) -> Interval:
        low, high, method = intervals.proportion_interval(self.success, self.among, unit, unit_name=unit_name)
        if not self.f1:
            return Interval(low, high, method)
        return Interval(2 * low / (1 + low), 2 * high / (1 + high), method)


def decision_shares(said: np.ndarray, true: np.ndarray, observed: np.ndarray) -> dict[str, Share]:
    """The proportions of one class against the rest: ``said`` and ``true`` are booleans ``[N]``."""
    hit = said & true & observed
    return {
        "sensitivity": Share(hit, true & observed),
        "specificity": Share(~said & ~true & observed, ~true & observed),
        "precision": Share(hit, said & observed),
        "f1": Share(hit, (said | true) & observed, f1=True),
    }


Thresholds = Mapping[str, Any]
"""A probability by name, or one for each row, ``[N]``, where rows come from several models."""


class Measured:
    """Metrics of one set of predictions whose targets are known.

    Attributes:
        unit: number of the sampling unit (patient, series or row) of each row, ``[N]``.
        unit_name: which of them it is.
        parts: names of the classes, labels or quantities that have a table row of their own.
        shares: ``{(part or "", metric): Share}`` for the metrics whose interval is that of a proportion.
        areas: ``{(part or "", "auroc"): Influence}`` likewise for areas under the ROC curve.
        observed: rows that count for each part, ``[N, P]``.
    """

    def __init__(
        self,
        predictions: Predictions,
        thresholds: Thresholds,
        own_thresholds: Thresholds | None = None,
    ) -> None:
        assert predictions.targets is not None
        self.task = predictions.task
        self.kind = predictions.task.kind
        self.unit, self.unit_name = predictions.unit, predictions.unit_name
        self.prediction: Any = predictions.prediction
        self.targets: Any = predictions.targets
        self.loss = predictions.loss
        self.loss_weight = predictions.weight
        self.shares: dict[tuple[str, str], Share] = {}
        self.areas: dict[tuple[str, str], delong.Influence] = {}
        self.parts: tuple[str, ...] = self.task.names
        self.own_thresholds = own_thresholds or {}
        if self.kind == "regression":
            self._quantities(predictions)
            return
        if self.kind == "survival":
            self.parts, self.observed = (), np.ones((len(predictions), 1), bool)
            return
        if "utility" in self.own_thresholds:
            self.gains = gains(predictions, self.own_thresholds["utility"])
        self.true, self.said, self.observed = self._decide(thresholds)
        for index, name in enumerate(self.parts):
            rows = self.observed[:, index]
            shares = decision_shares(self.said[:, index], self.true[:, index], rows)
            self.shares |= {(name, metric): share for metric, share in shares.items()}
            score = self.prediction if self.kind == "binary" else self.prediction[:, index]
            if self.kind != "binary":
                self.areas[name, "auroc"] = _influence(score, self.true[:, index], rows)
        everything = np.ones(len(predictions), bool)
        if self.task.is_classes:
            self.shares["", "accuracy"] = Share(self.likeliest == self.targets, everything)
        if self.kind == "binary":
            positive = self.task.names[1]
            self.shares |= {("", m): self.shares[positive, m] for m in ("sensitivity", "specificity", "f1")}
            self.areas["", "auroc"] = _influence(self.prediction, self.targets == 1, everything)
        # A mean over classes is taken over those that can be judged on these rows, in every resample alike.
        judged = {name: (self.true & self.observed)[:, i].any() for i, name in enumerate(self.parts)}
        contrasted = [judged[name] and (~self.true & self.observed)[:, i].any() for i, name in enumerate(self.parts)]
        self.present = np.array(list(judged.values()))
        self.contrasted = np.array(contrasted)

    def _quantities(self, predictions: Predictions) -> None:
        """What there is of quantities: no classes, but quantiles within which the truth lies or not."""
        self.parts = self.task.names if len(self.task.names) > 1 else ()
        self.observed = np.ones(self.targets.shape, bool)
        self.quantiles, self.levels = predictions.quantiles, predictions.levels
        self.covered = self.persistence = None
        if predictions.origins is not None:
            # The same as now, for all horizons.
            self.persistence = np.repeat(predictions.origins.value[:, None], self.targets.shape[1], axis=1)
        if self.quantiles is None or len(self.levels) < 2:
            return
        inside = (self.targets >= self.quantiles[..., 0]) & (self.targets <= self.quantiles[..., -1])
        everything = np.ones(len(predictions), bool)
        names = self.parts or ("",)
        self.shares |= {(name, "coverage"): Share(inside[:, i], everything) for i, name in enumerate(names)}
        self.covered = inside.astype(np.float64)

    def _decide(self, thresholds: Thresholds) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """True and predicted membership of each class or label ``[N, P]``, and where the truth is known."""
        if self.kind == "multilabel":
            cut = np.stack([thresholds[name] for name in self.parts], axis=-1)
            return self.targets == 1, self.prediction >= cut, ~np.isnan(self.targets)
        if self.kind == "binary":
            self.likeliest = metrics.called(self.prediction, DECISION)
            self.decided = metrics.called(self.prediction, thresholds[self.parts[1]])
        else:
            self.likeliest = self.decided = self.prediction.argmax(-1).astype(np.int32)
        classes = np.arange(len(self.parts))[None, :]
        true = self.targets[:, None] == classes
        return true, self.decided[:, None] == classes, np.ones(true.shape, bool)

    def _loss(self, weights: Float[np.ndarray, "*batch N"]) -> Any:
        """The loss as training has it: the sum of the rows' losses over the sum of their weights."""
        total = metrics.mean(self.loss, weights)
        return total if self.loss_weight is None else total / metrics.mean(self.loss_weight, weights)

    def __call__(
        self, weights: Float[np.ndarray, "*batch N"], only: Set[tuple[str, str]] | None = None
    ) -> dict[tuple[str, str], Any]:
        """Metrics as ``{(part or "", metric): [...]}``; ``""`` stands for the whole.

        Args:
            weights: how often each row counts.
            only: the metrics that are wanted; None gives all.
        """
        overall, parts = getattr(self, f"_{self.kind}")(weights)
        if self.loss is not None:
            overall = {"loss": lambda: self._loss(weights)} | overall
        values = {("", name): value() for name, value in overall.items() if only is None or ("", name) in only}
        for name, columns in parts.items():
            keys = [(part, name) for part in self.parts]
            if only is None or not only.isdisjoint(keys):
                found = columns()
                values |= {key: found[..., index] for index, key in enumerate(keys)}
        return values

    def _binary(self, weights: Any) -> tuple[Lazy, Lazy]:
        p, y, said = self.prediction, self.targets, self.decided
        scores = functools.cache(lambda: self._counted.class_scores(weights))
        standing = functools.cache(lambda: self._ranked[0].standing(weights))
        overall = {
            "auroc": lambda: standing().auroc(),
            "average_precision": lambda: standing().average_precision(),
            "accuracy": lambda: metrics.accuracy(self.likeliest, y, weights),
            "balanced_accuracy": lambda: scores()["sensitivity"].mean(-1),
            "sensitivity": lambda: metrics.sensitivity(said, y, weights),
            "specificity": lambda: metrics.specificity(said, y, weights),
            "f1": lambda: metrics.f1(said, y, weights),
            "brier": lambda: metrics.mean(self._brier, weights),
            "log_loss": lambda: metrics.mean(self._log_loss, weights),
        }
        if self.own_thresholds:
            called = metrics.called(p, self.own_thresholds["min_sensitivity_precision"])
            overall["min_sensitivity_precision"] = lambda: metrics.min_sensitivity_precision(called, y, weights)
        if "utility" in self.own_thresholds:
            overall["utility"] = lambda: self.gains.utility(weights)
        return overall, _each(scores, "sensitivity", "precision", "f1")

    def _multiclass(self, weights: Any) -> tuple[Lazy, Lazy]:
        y, said = self.targets, self.likeliest
        scores = functools.cache(lambda: self._counted.class_scores(weights))
        standings = functools.cache(lambda: [ranked.standing(weights) for ranked in self._ranked])
        areas = functools.cache(lambda: np.stack([each.auroc() for each in standings()], axis=-1))
        precisions = functools.cache(lambda: np.stack([each.average_precision() for each in standings()], axis=-1))
        overall = {
            "auroc": lambda: metrics.macro(areas(), self.contrasted),
            "auroc_weighted": lambda: areas()[..., self.contrasted] @ self.case_shares(),
            "average_precision": lambda: metrics.macro(precisions(), self.present),
            "accuracy": lambda: metrics.accuracy(said, y, weights),
            "balanced_accuracy": lambda: metrics.macro(scores()["sensitivity"], self.present),
            "f1": lambda: metrics.macro(scores()["f1"], self.present | self.said.any(0)),
            "brier": lambda: metrics.mean(self._brier, weights),
            "log_loss": lambda: metrics.mean(self._log_loss, weights),
        }
        if self.task.ordinal:
            overall["quadratic_kappa"] = lambda: metrics.quadratic_kappa(said, y, weights)
        return overall, _each(scores, "sensitivity", "precision", "f1") | {"auroc": areas}

    def _multilabel(self, weights: Any) -> tuple[Lazy, Lazy]:
        p, y = self.prediction, self.targets
        standings = functools.cache(lambda: [ranked.standing(weights) for ranked in self._ranked])

        def ranking(metric: Callable[[metrics.Standing], Any]) -> Any:
            return functools.cache(lambda: np.stack([metric(each) for each in standings()], axis=-1))

        def per_label(metric: Any, prediction: Any) -> Any:
            return functools.cache(lambda: metrics.per_column(metric, prediction, y, weights))

        said = self.said.astype(np.int32)
        parts: Lazy = {
            "auroc": ranking(metrics.Standing.auroc),
            "average_precision": ranking(metrics.Standing.average_precision),
            "sensitivity": per_label(metrics.sensitivity, said),
            "specificity": per_label(metrics.specificity, said),
            "f1": per_label(metrics.f1, said),
        }
        known = self.observed.any(0)
        means = {
            "auroc": (parts["auroc"], self.contrasted),
            "average_precision": (parts["average_precision"], self.present),
            "f1": (parts["f1"], self.present),
            "brier": (per_label(metrics.brier, p), known),
            "log_loss": (per_label(metrics.log_loss, p), known),
        }
        overall: Lazy = {name: functools.partial(_macro_of, columns, over) for name, (columns, over) in means.items()}
        overall["f1_max"] = functools.partial(_macro_of, ranking(metrics.Standing.f1_max), self.present)
        overall["f_max"] = lambda: metrics.f_max(p, y, weights, self._sample_curves)
        return overall, parts

    @functools.cached_property
    def _ranked(self) -> list[metrics.RankedScores]:
        """Scores of the positive class, or of each class or label."""
        if self.kind == "binary":
            return [metrics.RankedScores(self.prediction, self.targets)]
        truth = np.where(self.observed, self.true, np.nan)
        return [metrics.RankedScores(*columns) for columns in zip(self.prediction.T, truth.T, strict=True)]

    @functools.cached_property
    def _counted(self) -> metrics.CountedDecisions:
        return metrics.CountedDecisions(self.decided, self.targets, len(self.parts))

    @functools.cached_property
    def _brier(self) -> np.ndarray:
        return metrics.brier_of_each(self.prediction, self.targets)

    @functools.cached_property
    def _log_loss(self) -> np.ndarray:
        return metrics.log_loss_of_each(self.prediction, self.targets)

    @functools.cached_property
    def _sample_curves(self) -> metrics.SampleCurves:
        return metrics.sample_curves(self.prediction, self.targets)

    def _regression(self, weights: Any) -> tuple[Lazy, Lazy]:
        functions = {
            "mse": metrics.mean_squared_error,
            "rmse": metrics.root_mean_squared_error,
            "mae": metrics.mean_absolute_error,
            "r2": metrics.r2,
        }
        p, y = self.prediction, self.targets
        overall: Lazy = {name: functools.partial(f, p, y, weights) for name, f in functions.items()}
        parts: Lazy = {name: functools.partial(metrics.per_column, f, p, y, weights) for name, f in functions.items()}
        if (now := self.persistence) is not None:
            overall["skill"] = lambda: metrics.skill(p, y, now, weights)
            parts["skill"] = lambda: np.stack(
                [metrics.skill(p[:, i], y[:, i], now[:, i], weights) for i in range(p.shape[1])], axis=-1
            )
        if self.quantiles is not None:
            overall["pinball"] = functools.partial(metrics.pinball, self.quantiles, y, self.levels, weights)
        if (covered := self.covered) is not None:
            overall["coverage"] = lambda: metrics.mean(covered.mean(1), weights)
            parts["coverage"] = lambda: np.stack([metrics.mean(column, weights) for column in covered.T], axis=-1)
        return overall, parts if self.parts else {}

    def _survival(self, weights: Any) -> tuple[Lazy, Lazy]:
        return {"concordance": lambda: metrics.concordance(self.prediction[:, 0], self.targets, weights)}, {}

    def case_shares(self) -> np.ndarray:
        """Share of each class that can be contrasted among the examples of those classes, ``[C']``."""
        cases = self.true.sum(0)[self.contrasted].astype(np.float64)
        return cases / cases.sum() if len(cases) else cases

    def closed_interval(self, part: str, metric: str, value: float) -> Interval | None:
        """The interval of a metric that has a better one than the bootstrap, else None."""
        if metric == "concordance":
            area, moves = metrics.concordance_moves(self.prediction[:, 0], self.targets)
            return delong.mean_auroc_interval(np.array([area]), moves[:, None], self.unit)
        if (part, metric) in self.shares:
            return self.shares[part, metric].interval(self.unit, self.unit_name)
        if (part, metric) in self.areas:
            return delong.auroc_interval(self.areas[part, metric], self.unit, unit_name=self.unit_name)
        if metric in ("auroc", "auroc_weighted") and self.contrasted.any():
            names = [name for name, chosen in zip(self.parts, self.contrasted, strict=True) if chosen]
            areas = np.array([self.areas[name, "auroc"].area for name in names])
            moves = np.stack([self.areas[name, "auroc"].moves for name in names], axis=-1)
            if metric == "auroc":
                return delong.mean_auroc_interval(areas, moves, self.unit)
            own = np.cumsum(self.contrasted)[self.targets] - 1
            return delong.mean_auroc_interval(areas, moves, self.unit, self.case_shares(), own)
        if metric == "balanced_accuracy" and (value in (0.0, 1.0) or len(np.unique(self.unit)) == len(self.unit)):
            names = [name for name, chosen in zip(self.parts, self.present, strict=True) if chosen]
            found = [self.shares[name, "sensitivity"] for name in names]
            limits = np.array([share.interval(self.unit, self.unit_name)[:2] for share in found])
            each = np.array([share.success[share.among].mean() for share in found])
            return Interval(*intervals.mean_of_proportions(each, limits), "Wilson, combined")
        return None

    def rows(self, part: str, metric: str) -> np.ndarray:
        """The rows on which a metric rests, ``[N]``: for a sensitivity the cases, for a label those observed."""
        share = self.shares.get((part, metric))
        if share is not None and not share.f1:
            return share.among
        return self.observed[:, self.parts.index(part)] if part else np.any(self.observed, axis=1)


def _each(scores: Callable[[], dict[str, Any]], *names: str) -> Lazy:
    return {name: functools.partial(lambda name: scores()[name], name) for name in names}


def _macro_of(columns: Callable[[], Any], over: np.ndarray) -> Any:
    return metrics.macro(columns(), over)


def _influence(score: np.ndarray, true: np.ndarray, observed: np.ndarray) -> delong.Influence:
    """`delong.influence` over the rows where the truth is known; the other rows move nothing."""
    found = delong.influence(score[observed].astype(np.float64), true[observed].astype(np.int32))
    moves = np.zeros(len(score))
    moves[observed] = found.moves
    return delong.Influence(found.area, moves, true & observed)
