"""The Parquet tables of members and of their curves: what the directory holds, in columns, and made from it alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_ablation import GRID, LOGGED, METRICS, SECONDS, SEEDS, STEPS, made_in, plan_in
from tiny import EXPERIMENT

from research.ablation.ablation import Ablation
from research.ablation.members_table import write_tables
from research.cli import main
from research.errors import RunError, UserError
from research.optimizers import SGD, AdamW

COUNT = 4 * SEEDS


@pytest.fixture
def here(tmp_path: Path) -> Path:
    made_in(tmp_path / "study")
    return tmp_path / "study"


def edited(file: Path, edit: Any) -> None:
    """Change the JSON of a file."""
    about = json.loads(file.read_text())
    edit(about)
    file.write_text(json.dumps(about))


def test_a_row_a_member_with_what_was_edited_and_found(here: Path) -> None:
    members: Any = pd.read_parquet(write_tables(here)[0])
    plan = json.loads((here / "ablation.json").read_text())
    assert members["member"].tolist() == [member["name"] for member in plan["members"]]
    assert list(zip(members["arm"], members["seed"], strict=True))[SEEDS] == (plan["arms"][1]["name"], 0)
    assert members[["fold", "inner", "reason"]].isna().all(axis=None)
    pairs = zip(members["optimizer.learning_rate"], members["optimizer.weight_decay"], strict=True)
    assert len(set(pairs)) == 4 and set(members["optimizer.learning_rate"]) == set(GRID["optimizer.learning_rate"])
    assert members["optimizer.learning_rate"][0] == EXPERIMENT.optimizer.learning_rate  # type: ignore[union-attr]
    for name, value in (
        ("state", "finished"),
        ("way", "map"),
        ("wave", "only"),
        ("updates", 50),
        ("reported_step", 30),
    ):
        assert (members[name] == value).all()
    assert members["seconds"].sum() == pytest.approx(SECONDS)
    assert [name for name in members if name.startswith("test/")] == [f"test/{name}" for name in METRICS]
    log = [json.loads(line) for line in (here / "waves" / "only" / "curves.jsonl").read_text().splitlines()]
    assert members["validation/auroc"].tolist() == log[2]["validation/auroc"]
    assert "train/loss" not in members


def test_curves_are_the_log_in_long_form(here: Path) -> None:
    file = here / "waves" / "only" / "curves.jsonl"
    log = [json.loads(line) for line in file.read_text().splitlines()]
    log[1]["train/loss"][5] = None
    log[4] = {name: values[3:] if isinstance(values, list) else values for name, values in log[4].items()}
    file.write_text("".join(json.dumps(record) + "\n" for record in log))
    curves: Any = pd.read_parquet(write_tables(here)[1])
    assert len(curves) == len(LOGGED) * (COUNT * len(STEPS) - 3)  # three members stopped before the last event
    table = curves.pivot(index=["member", "step"], columns="metric", values="value")
    names = [member["name"] for member in json.loads((here / "ablation.json").read_text())["members"]]
    for record in log:
        for name in LOGGED:
            values = table.loc[[(names[number], record["step"]) for number in record["member"]], name]
            assert values.tolist() == pytest.approx(pd.Series(record[name], dtype=float), nan_ok=True)
    assert curves["value"].isna().sum() == 1 and (curves["epoch"] == curves["step"] / 4).all()


def test_members_that_stopped_failed_or_wait_say_so(here: Path) -> None:
    def end(results: Any) -> None:
        results["members"][1] |= {"failed_step": 7, "metrics": {}, "updates": 7, "reported_step": 7}
        results["members"][2] |= {"stopped_early": True}

    edited(here / "waves" / "only" / "results.json", end)
    edited(here / "ablation.json", lambda plan: plan["members"][3].update(identity="waits"))
    members: Any = pd.read_parquet(write_tables(here)[0])
    assert members["state"].tolist()[:5] == ["finished", "failed", "stopped early", "not trained", "finished"]
    assert members["reason"][1] == "loss or predictions not finite at update 7" and members["reason"].notna().sum() == 1
    assert members["test/auroc"].isna().tolist()[:5] == [False, True, False, True, False]
    assert members["validation/auroc"].isna().tolist()[:4] == [False, True, False, True]
    assert pd.isna(members["updates"][3]) and pd.isna(members["wave"][3])
    schema = pq.read_schema(here / "members.parquet")
    assert schema.field("updates").type == schema.field("fold").type == pa.int64()


def test_values_that_are_no_numbers_are_text_and_differ(tmp_path: Path) -> None:
    variants = {
        "wide": {"model.widths": (8, 8)},
        "strong": {"optimizer": AdamW(learning_rate=0.1, weight_decay=0.5)},
        "weak": {"optimizer": AdamW(learning_rate=0.1, weight_decay=0.1)},
        "plain": {"optimizer": SGD(learning_rate=0.1), "batch_size": 8},
        "sure": {"model.dropout": None},
        "sharp": {"optimizer.eps": 1e-3},  # of which SGD has none
    }
    plan_in(tmp_path / "study", Ablation(baseline=EXPERIMENT, variants=variants, seeds=1))
    paths = write_tables(tmp_path / "study")
    members = pq.read_table(paths[0]).to_pydict()
    assert members["model.widths"] == ["(4,)", "(8, 8)", *["(4,)"] * 5]
    assert len(set(members["optimizer"])) == 5 and members["optimizer"][4] == "SGD"
    assert members["batch_size"] == [16, 16, 16, 16, 8, 16, 16]
    assert members["model.dropout"] == [0.2] * 5 + [None, 0.2]
    assert members["optimizer.eps"][4] is None and members["optimizer.eps"][6] == 1e-3
    assert set(members["state"]) == {"not trained"} and pq.read_metadata(paths[1]).num_rows == 0


def test_they_are_made_again_from_the_directory(here: Path, monkeypatch: Any, capsys: Any) -> None:
    before = [path.read_bytes() for path in write_tables(here)]
    for path in here.glob("*.parquet"):
        path.unlink()
    assert [path.read_bytes() for path in write_tables(here)] == before

    def full(path: Path, table: Any) -> None:
        raise RunError(f"{path} cannot be written")

    monkeypatch.setattr("research.ablation.members_table.write_parquet", full)
    assert main(["table", str(here), "--format", "csv"]) == 0
    said = capsys.readouterr()
    assert "baseline" in said.out and "members.parquetcannotbewritten" in "".join(said.err.split())
    with pytest.raises(UserError, match=r"ablation\.json is missing"):
        write_tables(here.parent)
