"""Two Parquet files of an ablation, for whatever reads such: what each member came to, and its curves.

``members.parquet`` has a row for each member that was asked for last:

- ``member``, ``arm``, ``seed``, ``fold``, ``inner``: its name and what it is made of; the last two are null without
  cross-validation.
- a column for each field that an arm edits, by its dotted path such as ``optimizer.learning_rate``: numbers and true or
  false as they are where all arms have such, else text; null for none.
- ``state``: ``finished``, ``stopped early``, ``failed`` or ``not trained``; ``reason`` of a failure, else null.
- ``updates``: made; ``reported_step``: after how many the weights were those that are reported.
- ``seconds``: of its wave, shared out evenly; of a wave that was resumed those since.
- ``way`` and ``wave``: how its wave went through its members, and the wave's folder.
- ``test/auroc`` and so on: each metric of the split that is reported, as in ``results.json``: over all examples.
- ``validation/auroc`` and so on: what was logged on validation at ``reported_step``; null where nothing was.

``curves.parquet`` has a row for each number of the log: ``member``, ``step``, ``epoch`` (null where there are none),
``metric`` such as ``train/loss`` and ``value``, null where it was not finite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from research.ablation.directory import AblationDirectory, Wave
from research.ablation.names import value_at, value_texts
from research.evaluation.predictions import write_parquet
from research.training.metrics_log import read_metrics

MEMBERS = "members.parquet"
CURVES = "curves.parquet"


def write_tables(path: Path) -> tuple[Path, Path]:
    """Write both files into the directory of an ablation, from what lies there; returns where they are.

    Raises:
        UserError: if this is no ablation directory, or a file of it is damaged.
        RunError: if they cannot be written.
    """
    directory = AblationDirectory(path)
    plan, where = directory.read_plan(), directory.finished()
    waves = {wave.path: wave for wave, _ in where.values()}
    logs = {folder: read_metrics(wave.curves) for folder, wave in waves.items()}
    write_parquet(path / MEMBERS, _members(plan, where, logs))
    write_parquet(path / CURVES, _curves(plan, where, logs))
    return path / MEMBERS, path / CURVES


_KINDS = {
    **dict.fromkeys(("member", "arm"), pa.string()),
    **dict.fromkeys(("seed", "fold", "inner"), pa.int64()),
    **dict.fromkeys(("state", "reason"), pa.string()),
    **dict.fromkeys(("updates", "reported_step"), pa.int64()),
    "seconds": pa.float64(),
    **dict.fromkeys(("way", "wave"), pa.string()),
}
"""Types of the columns that every ablation has, in their order; fields that are edited come before ``state``."""

Places = Mapping[str, tuple[Wave, int]]
"""Wave and place in it of each member that has results, by identity."""

Logs = Mapping[Path, Sequence[Mapping[str, Any]]]
"""Records of the log of each wave, by its folder."""


def _members(plan: Mapping[str, Any], where: Places, logs: Logs) -> pa.Table:
    said = {path: wave.outcome() for path, wave in {wave.path: wave for wave, _ in where.values()}.items()}
    edits = _edits(plan)
    rows = []
    for member in plan["members"]:
        row = {"member": member["name"]} | {name: member.get(name) for name in ("arm", "seed", "fold", "inner")}
        rows.append(row | edits[member["arm"]] | _outcome(where.get(member["identity"]), said, logs))
    names = list(dict.fromkeys(name for row in rows for name in row))
    names.sort(key=lambda name: "/" in name)  # metrics come last, whichever rows have them
    return pa.table({name: _column(name, [row.get(name) for row in rows]) for name in names})


def _outcome(place: tuple[Wave, int] | None, said: Mapping[Path, Mapping[str, Any]], logs: Logs) -> dict[str, Any]:
    """What one member came to."""
    row: dict[str, Any] = {"state": "not trained"} | dict.fromkeys(
        ("reason", "updates", "reported_step", "seconds", "way", "wave")
    )
    if place is None:
        return row
    wave, number = place
    outcome = said[wave.path]
    own, split = outcome["members"][number], outcome["split"]
    if own["failed_step"] is not None:
        row |= {"state": "failed", "reason": f"loss or predictions not finite at update {own['failed_step']}"}
    else:
        row["state"] = "stopped early" if own["stopped_early"] else "finished"
    row |= {name: own.get(name) for name in ("updates", "reported_step")}
    row |= {"seconds": outcome["seconds"] / len(outcome["members"]), "way": str(wave.way), "wave": wave.path.name}
    logged = _chosen(logs[wave.path], number, row["reported_step"])
    return row | logged | {f"{split}/{name}": value for name, value in own["metrics"].items()}


def _chosen(log: Sequence[Mapping[str, Any]], number: int, step: int | None) -> dict[str, Any]:
    """What was logged of a member on validation at some step."""
    for record in log:
        if record["step"] == step and number in record["member"]:
            at = record["member"].index(number)
            return {name: values[at] for name, values in record.items() if name.startswith("validation/")}
    return {}


def _edits(plan: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By arm, the values of the fields that any arm edits."""
    arms = [arm for arm in plan["arms"] if isinstance(arm, Mapping) and "experiment" in arm]
    paths = list(dict.fromkeys(path for arm in arms for path in arm["edits"]))
    found: dict[str, dict[str, Any]] = {member["arm"]: {} for member in plan["members"]}
    for path in paths:
        values = [value_at(arm["experiment"], path) for arm in arms]
        if not _plain(values):
            values = [None if value is None else text for value, text in zip(values, value_texts(values), strict=True)]
        for arm, value in zip(arms, values, strict=True):
            found.setdefault(arm["name"], {})[path] = value
    return found


def _plain(values: Sequence[Any]) -> bool:
    """Whether all are numbers, or all true or false, or all text; or none."""
    kinds = {type(value) for value in values if value is not None}
    return (len(kinds) <= 1 and kinds <= {bool, int, float, str}) or kinds == {int, float}


def _column(name: str, values: Sequence[Any]) -> pa.Array:
    if any(isinstance(value, float) for value in values):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array(values, _KINDS.get(name))


def _curves(plan: Mapping[str, Any], where: Places, logs: Logs) -> pa.Table:
    trained = [member for member in plan["members"] if member["identity"] in where]
    places: dict[Path, dict[int, int]] = {}
    for number, member in enumerate(trained):
        wave, at = where[member["identity"]]
        places.setdefault(wave.path, {})[at] = number
    metrics: dict[str, int] = {}
    parts: list[tuple[np.ndarray, ...]] = []
    for path, own in places.items():
        for record in logs[path]:
            kept = [at for at, number in enumerate(record["member"]) if number in own]
            members = np.array([own[record["member"][at]] for at in kept], np.int32)
            for name in (name for name in record if "/" in name):
                values = np.array([record[name][at] for at in kept], np.float64)  # None becomes NaN
                code = metrics.setdefault(name, len(metrics))
                about = (np.full(len(kept), number) for number in (record["step"], record.get("epoch", np.nan), code))
                parts.append((members, *about, values))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else [np.zeros(0)] * 5
    member, step, epoch, metric, value = columns
    return pa.table(
        {
            "member": pa.DictionaryArray.from_arrays(
                member.astype(np.int32), pa.array([m["name"] for m in trained], pa.string())
            ),
            "step": pa.array(step.astype(np.int64)),
            "epoch": pa.array(epoch.astype(np.float64), mask=np.isnan(epoch)),
            "metric": pa.DictionaryArray.from_arrays(metric.astype(np.int32), pa.array(list(metrics), pa.string())),
            "value": pa.array(value, mask=np.isnan(value)),
        }
    )
