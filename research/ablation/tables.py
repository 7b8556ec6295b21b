"""The table of an ablation: each variant with its interval, and its difference to the baseline."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from research.ablation.result import CHOSEN, AblationResult
from research.ablation.statistics import Analysis, Difference, Summary, analyse, mark_selected
from research.errors import UserError
from research.evaluation.tables import TITLES, number, p_text, with_interval
from research.metrics import LARGER_IS_BETTER
from research.training.metrics_log import finite

COLUMNS = (
    *("metric", "variant", "seeds", "mean [95 % interval]", "sd over seeds", "sd over patients"),
    *("difference [95 % interval]", "p", "p over seeds"),
)
FOLD_COLUMNS = ("metric", "variant", "each fold", "pooled", "mean, N & B", "difference, N & B")
"""Of a second table with folds; N & B stands for the intervals of Nadeau & Bengio."""
BOOTSTRAP_COLUMNS = ("metric", "variant", "mean, bootstrap", "difference, bootstrap")
"""Of a further table where the hierarchical bootstrap was asked for."""
PRIMARY = ("auroc", "rmse", "concordance", "loss")
"""Which metric is tested unless told: the first of these that there is, or else the first of all."""


def analysis_of(
    result: AblationResult, metrics: Sequence[str] = (), resamples: int = 0, best: bool = False
) -> Analysis:
    """The statistics of an ablation; the first metric is tested.

    Args:
        result: of the ablation.
        metrics: those wanted; none takes the usual one of the task.
        resamples: of the hierarchical bootstrap, which stands beside the intervals for comparison; 0 for none.
        best: mark the best row, as chosen by its value on the test data; that of a search is marked anyway.

    Raises:
        UserError: for a metric that there is not.
        RunError: if no member of the baseline has results.
    """
    names = list(metrics)
    if not names:
        known = _known(result) or ["loss"]
        names = [next((name for name in PRIMARY if name in known), known[0])]
    # Which arm is the better one is not known of every metric.
    chooses = bool(result.inner) and (names[0] in LARGER_IS_BETTER or names[0] not in _known(result))
    analysis = analyse(result.for_statistics(names[0] if chooses else ""), names, names[:1], resamples)
    notes = (*analysis.notes, *result.notes, *_stopped(result))
    analysis = dataclasses.replace(analysis, split=result.split, notes=notes)
    if result.inner and not chooses:
        why = f"it is not known whether a larger {names[0]} is better or a smaller one"
        note = f"no row for what is {CHOSEN}: {why}; name a metric of which it is, by --metric"
        analysis = dataclasses.replace(analysis, notes=(*analysis.notes, note))
    elif result.inner:
        chosen = ", ".join(f"{arm} in fold {fold}" for fold, arm in result.chosen(names[0]).items())
        note = f"{CHOSEN} by {names[0]}: {chosen}; its row is what choosing so will do on new patients"
        analysis = dataclasses.replace(analysis, notes=(*analysis.notes, note))
    arms = [name for name in analysis.variants if name != CHOSEN]
    return mark_selected(analysis, names[0], among=arms) if best or result.searched else analysis


def _known(result: AblationResult) -> list[str]:
    """Names of the metrics that members have."""
    return next((list(outcome.results["metrics"]) for outcome in result.outcomes if not outcome.failed), [])


def _stopped(result: AblationResult) -> list[str]:
    every = (*result.outcomes, *result.inner)
    count = sum(outcome.results["stopped_early"] for outcome in every)
    return [f"{count} of {len(every)} members stopped early"] if count else []


def text_tables(analysis: Analysis) -> list[Any]:
    """For a terminal: a table a metric, and what to know of it."""
    found: list[Any] = []
    for metric in analysis.metrics:
        title = TITLES.get(metric, metric.replace("_", " "))
        table = Table(title=f"{title}, {analysis.split}; difference to {analysis.variants[0]}", title_justify="left")
        table.add_column("variant", overflow="fold")
        for column in ("mean [95 % interval]", "sd: seeds\npatients", "difference", "p\nover seeds"):
            table.add_column(column, justify="right")
        for row in rows(analysis, metric):
            shown = [
                _names(row)[1],
                with_interval(row["mean"], row["low"], row["high"]).replace(" [", "\n["),
                f"{number(row['sd_seeds'])}\n{number(row['sd_data'])}",
                _change(row).replace(" [", "\n["),
                f"{p_text(row['p_holm'])}\n{p_text(row['p_seeds'])}",
            ]
            table.add_row(*map(Text, shown))
        found.append(table)
        if by_fold := _fold_cells(analysis, metric):
            found.append(_fold_table(f"{title}, {analysis.split}, by fold", by_fold))
        if by_bootstrap := _bootstrap_cells(analysis, metric):
            table = Table(*BOOTSTRAP_COLUMNS[1:], title=f"{title}, {analysis.split}", title_justify="left")
            for cells in by_bootstrap:
                table.add_row(*map(Text, cells[1:]))
            found.append(table)
    lines = [*analysis.notes, *(settling.text for settling in analysis.settling)]
    found.append(Text("\n".join(lines)))
    if analysis.warnings:
        found.append(Text("\n".join(f"warning: {warning}" for warning in analysis.warnings), style="yellow"))
    return found


def _fold_table(title: str, by_fold: list[list[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("variant", overflow="fold")
    table.add_column("each fold")
    table.add_column("pooled", justify="right", no_wrap=True)
    for column in FOLD_COLUMNS[-2:]:
        table.add_column(column.replace(", ", "\n"), justify="right", no_wrap=True)
    for cells in by_fold:
        table.add_row(*map(Text, cells[1:]))
    return table


def rows(analysis: Analysis, metric: str) -> list[dict[str, Any]]:
    """A row a variant, with every number; what is not there is None or NaN.

    With folds, the value of each, that of the pooled predictions and the intervals of Nadeau & Bengio come last; after
    them those of the hierarchical bootstrap, if there are.
    """
    found = []
    for variant in analysis.variants:
        summary = analysis.summary(variant, metric)
        contrast = None if variant == analysis.variants[0] else analysis.difference(variant, metric)
        found.append(
            {
                "metric": metric,
                "variant": variant,
                "selected": variant == analysis.selected,
                "seeds": summary.seeds,
                "mean": summary.mean,
                "low": summary.low,
                "high": summary.high,
                "interquartile_mean": summary.interquartile_mean,
                "sd_seeds": summary.deviation,
                "sd_data": summary.parts.data_deviation,
                "difference": None if contrast is None else contrast.difference,
                "difference_low": None if contrast is None else contrast.low,
                "difference_high": None if contrast is None else contrast.high,
                "p": None if contrast is None else contrast.p_value,
                "p_holm": None if contrast is None else contrast.p_corrected,
                "p_seeds": None if contrast is None else contrast.p_seeds,
            }
            | _of_folds(summary, contrast)
            | (_of_bootstrap(summary, contrast) if analysis.resampled else {})
        )
    return found


def _of_bootstrap(summary: Summary, contrast: Difference | None) -> dict[str, Any]:
    change = None if contrast is None else contrast.bootstrap
    return {
        "bootstrap_low": summary.bootstrap.low,
        "bootstrap_high": summary.bootstrap.high,
        "difference_bootstrap_low": None if change is None else change.low,
        "difference_bootstrap_high": None if change is None else change.high,
    }


def _of_folds(summary: Summary, contrast: Difference | None) -> dict[str, Any]:
    if (folds := summary.folds) is None:
        return {}
    change = None if contrast is None else contrast.corrected
    return {f"fold_{number}": value for number, value in enumerate(folds.each)} | {
        "pooled": folds.pooled,
        "corrected_low": folds.corrected.low,
        "corrected_high": folds.corrected.high,
        "difference_corrected_low": None if change is None else change.low,
        "difference_corrected_high": None if change is None else change.high,
    }


def markdown(analysis: Analysis) -> str:
    """A Markdown table, with folds a second one, notes below."""
    lines: list[str] = []
    for columns, body in _written_tables(analysis):
        lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines += [*(f"| {' | '.join(map(_plain, cells))} |" for cells in body), ""]
    return "\n".join([*lines, *_remarks(analysis), ""])


def latex(analysis: Analysis) -> str:
    """A LaTeX table with the rules of booktabs; with folds a second one."""
    lines: list[str] = []
    for columns, body in _written_tables(analysis):
        head = " & ".join(_IN_LATEX.get(name, _escaped(name)) for name in columns) + r" \\"
        inner = [" & ".join(map(_escaped, cells)) + r" \\" for cells in body]
        begin = rf"\begin{{tabular}}{{ll{'r' * (len(columns) - 2)}}}"
        lines += [begin, r"\toprule", head, r"\midrule", *inner, r"\bottomrule", r"\end{tabular}"]
    remarks = [f"% {' '.join(line.split())}" for line in _remarks(analysis)]
    return "\n".join([*lines, *remarks, ""])


def _written_tables(analysis: Analysis) -> list[tuple[Sequence[str], list[list[str]]]]:
    """Columns and cells of each table."""
    by_fold = [cells for metric in analysis.metrics for cells in _fold_cells(analysis, metric)]
    by_bootstrap = [cells for metric in analysis.metrics for cells in _bootstrap_cells(analysis, metric)]
    further = ((FOLD_COLUMNS, by_fold), (BOOTSTRAP_COLUMNS, by_bootstrap))
    return [(COLUMNS, _cells(analysis)), *((columns, body) for columns, body in further if body)]


def comma_separated(analysis: Analysis) -> str:
    """CSV with every number."""
    every = [row for metric in analysis.metrics for row in rows(analysis, metric)]
    file = io.StringIO()
    writer = csv.DictWriter(file, list(every[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | {"selected": str(row["selected"]).lower()} for row in every)
    return file.getvalue()


def as_json(analysis: Analysis) -> str:
    """JSON with every number; what is not defined is null."""
    every = [row for metric in analysis.metrics for row in rows(analysis, metric)]
    about = {
        name: getattr(analysis, name) for name in ("split", "patients", "unit_name", "notes", "warnings", "selected")
    }
    about["settling"] = [settling._asdict() for settling in analysis.settling]
    return json.dumps(finite({"rows": every} | about), indent=1, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Analysis], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": comma_separated,
    "json": as_json,
}


def written(analysis: Analysis, form: str) -> str:
    """The table as text of a format; raises `UserError` for an unknown one."""
    if form not in FORMATS:
        raise UserError(f"--format: {form!r} is not known. Allowed: text, {', '.join(FORMATS)}.")
    return FORMATS[form](analysis)


def _cells(analysis: Analysis) -> list[list[str]]:
    found = []
    for metric in analysis.metrics:
        for row in rows(analysis, metric):
            cells = [*_names(row), f"{row['seeds']}", with_interval(row["mean"], row["low"], row["high"])]
            cells += [number(row["sd_seeds"]), number(row["sd_data"]), _change(row)]
            found.append([*cells, p_text(row["p_holm"]), p_text(row["p_seeds"])])
    return found


def _fold_cells(analysis: Analysis, metric: str) -> list[list[str]]:
    """Cells of the table of folds; none without them."""
    found = []
    for row in rows(analysis, metric):
        if "pooled" in row:
            each = " ".join(number(value) for name, value in row.items() if name.startswith("fold_"))
            limits = [_limits(row[f"{of}corrected_low"], row[f"{of}corrected_high"]) for of in ("", "difference_")]
            found.append([*_names(row), each, number(row["pooled"]), *limits])
    return found


def _bootstrap_cells(analysis: Analysis, metric: str) -> list[list[str]]:
    """Cells of the table of the bootstrap; none where it was not asked for."""
    return [
        [*_names(row), *(_limits(row[f"{of}bootstrap_low"], row[f"{of}bootstrap_high"]) for of in ("", "difference_"))]
        for row in rows(analysis, metric)
        if "bootstrap_low" in row
    ]


def _names(row: dict[str, Any]) -> list[str]:
    """Metric and variant, marked where it was chosen by its value."""
    metric: str = row["metric"]
    title = TITLES.get(metric, metric.replace("_", " "))
    return [title, f"{row['variant']} *" if row["selected"] else row["variant"]]


def _limits(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    return number(low) if math.isnan(low) else f"[{number(low)}, {number(high)}]"


def _change(row: dict[str, Any]) -> str:
    """The difference to the baseline, which has none itself."""
    if row["difference"] is None:
        return ""
    return with_interval(row["difference"], row["difference_low"], row["difference_high"])


def _remarks(analysis: Analysis) -> list[str]:
    settling = [each.text for each in analysis.settling]
    return [
        f"metrics of the {analysis.split} split",
        *analysis.notes,
        *settling,
        *(f"warning: {warning}" for warning in analysis.warnings),
    ]


_IN_LATEX = {"p": "$p$", "p over seeds": "$p$ over seeds"}
_LATEX = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%_#${}"}
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
    | {"<": "$<$", ">": "$>$", "|": "$|$", "–": "--", "\n": " "}
)
_MARKDOWN = str.maketrans({"\\": r"\\", "|": r"\|", "\n": " "})


def _escaped(text: str) -> str:
    """As LaTeX shows it as it is."""
    return text.translate(_LATEX)


def _plain(text: str) -> str:
    """As a cell of a Markdown table shows it as it is."""
    return text.translate(_MARKDOWN)
